"""The pages that people look at: a file a page, with its figures; its template is in templates/dashboard/."""
