"""Memories: what agents keep beyond a workflow, and find again."""
