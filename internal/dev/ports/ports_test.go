package ports

import "testing"

// Two clusters on one machine do not take each other's ports, not even while nobody listens at them.
func TestClustersShareNoPort(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 40 {
		p := New()
		t.Cleanup(func() {
			if err := p.Release(); err != nil {
				t.Error(err)
			}
		})
		for range blockSize + 2 { // more than one block
			a, err := p.Take(0)
			if err != nil {
				t.Fatal(err)
			}
			if seen[a] {
				t.Fatalf("%s is given twice", a)
			}
			seen[a] = true
		}
	}
}
