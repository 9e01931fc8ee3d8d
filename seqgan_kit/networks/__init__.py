"""Models only, in folders by what they are for."""
