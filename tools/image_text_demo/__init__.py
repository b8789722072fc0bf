"""Parts of tools/demo_image_text.py: its command line, and generated scenes to show."""
