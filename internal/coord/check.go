package coord

import "fmt"

// Check refuses a transaction that no store would take, before anything is sent or staged. Beyond a limit the error is ErrTooLarge.
func Check(ops []Op) error {
	if len(ops) > MaxTxnOps {
		return fmt.Errorf("%w: %d operations: at most %d are possible", ErrTooLarge, len(ops), MaxTxnOps)
	}
	total := 0
	for i, op := range ops {
		switch {
		case op.Verb < Set || op.Verb > CheckNotExists:
			return fmt.Errorf("operation %d: expected a verb, not %d", i, op.Verb)
		case op.Key == "":
			return fmt.Errorf("operation %d: expected a key", i)
		case len(op.Key) > MaxKeyBytes:
			return fmt.Errorf("%w: operation %d: key of %d bytes: at most %d are possible", ErrTooLarge, i, len(op.Key), MaxKeyBytes)
		case len(op.Value) > MaxValueBytes:
			return fmt.Errorf("%w: operation %d, key %s: value of %d bytes: at most %d are possible", ErrTooLarge, i, op.Key,
				len(op.Value), MaxValueBytes)
		}
		total += len(op.Key) + len(op.Value)
	}
	if total > MaxTxnBytes {
		return fmt.Errorf("%w: transaction of %d bytes: at most %d are possible", ErrTooLarge, total, MaxTxnBytes)
	}
	return nil
}
