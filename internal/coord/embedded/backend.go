package embedded

// backend keeps the state beyond memory. commit is all or nothing; its error wraps coord.ErrFull or coord.ErrUnavailable if nothing
// was kept, and coord.ErrUnknown if the change is readable from the backend but its way to the disk is in doubt.
type backend interface {
	load() (*state, error)
	commit(c *change) error
	close() error
}

// memory keeps nothing beyond the state itself.
type memory struct{}

func (memory) load() (*state, error) { return newState(), nil }
func (memory) commit(*change) error  { return nil }
func (memory) close() error          { return nil }
