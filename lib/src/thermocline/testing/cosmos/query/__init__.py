"""Cosmos DB's SQL: text to tokens, tokens to a tree, the tree to closures over Cosmos' `undefined`."""
