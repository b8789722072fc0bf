"""Images with texts: captions, questions, statements about image pairs."""
