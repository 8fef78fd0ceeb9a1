"""A look at a training before it begins: would it go wrong, how long would it take, and would it fit?

Text is read as training reads it, up to a million pairs of each corpus; what is costly looks at a sample of it.
"""
