"""The pages that people see: one layout, a module per page; everything is rendered on the server."""
