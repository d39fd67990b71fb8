"""Pictures: of preparations, of results, and the pages that show them."""
