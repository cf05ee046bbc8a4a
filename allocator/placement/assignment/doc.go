// Package assignment is where the replicas of a problem are, with all sums that tell what that breaks and costs, kept incrementally. It
// answers what a move would change, and does moves; which ones to try is for the searches, which read its sums as they are.
//
// Invariant, with a test (of package engine): after any moves the sums are what the definitions say.
package assignment
