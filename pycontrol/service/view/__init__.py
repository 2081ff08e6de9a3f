"""Understanding: pictures, history and a verdict."""
