"""Where the world comes in: each interface parses, calls one verb and renders. They never import each other."""
