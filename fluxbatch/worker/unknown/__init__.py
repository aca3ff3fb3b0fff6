"""Unknown creates: looked for, judged by evidence, found, absent or held."""
