"""The task dialogue: replies to histories."""
