package engine

// Rebuild and Sway are what exploration does now and then.
func (s *Search) Rebuild() { s.rebuild() }
func (s *Search) Sway()    { s.sway() }
