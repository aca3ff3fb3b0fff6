"""Operations: every change of the ledger, as a value that one writer applies."""
