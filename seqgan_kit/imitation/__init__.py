"""The task imitation: GAIL and its relatives in Gymnasium environments."""
