"""The one exception for mistakes a user can mend: the command line prints it as a paragraph, without a traceback."""


class UserError(Exception):
    """Names what is wrong (key, file, row) and the fix, in one paragraph."""
