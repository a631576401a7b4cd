"""`make eval-containment`: how often attribution is right, and how fast containment helps, on real containers."""
