// Package archtest keeps the tree's shape: which package may import which (docs/architecture.md §2, DESIGN §4), which foreign library
// belongs where, what the pure cores and the public API may contain, and how large functions, files and packages may grow.
//
// It holds tests only, run by `make test`; nothing imports it. The rules are tables with a reason in each row. Whoever has to break one
// adds a row, in the same commit, and says why. Exceptions from budgets only shrink: a row that allows more than is used fails too.
package archtest
