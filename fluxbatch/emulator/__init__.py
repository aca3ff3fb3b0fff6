"""A faithful local provider: the whole contract, served from this machine.

Source: docs/design/provider-api.md.

For the demo, the tests and the benchmarks. It imports nothing of the engine, so that a
misunderstanding in the engine cannot repeat itself here; the import-linter says the same.

    core.py      the state machine: pure, under any clock
    app.py       the thin HTTP layer over it
    command.py   `fluxbatch emulator`
"""
