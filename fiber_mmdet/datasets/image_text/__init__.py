"""Images and texts: captions, questions, statements about image pairs."""
