"""What mkdocs needs beside mkdocs.yml, to make the pages of the checkout a site."""
