"""Who hurts whom: pure, Frames in, Evidence out."""
