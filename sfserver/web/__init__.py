"""The pages: static HTML, CSS and JavaScript that ask the API like any other client."""
