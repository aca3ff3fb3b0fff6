"""`python -m fluxbatch.emulator`: the same as `fluxbatch emulator`."""

import typer

from fluxbatch.emulator.command import emulator_command

if __name__ == "__main__":
    typer.run(emulator_command)
