// Package latency tells how long a round trip between two regions takes, from the network coordinates of the agents in them.
//
// A coordinate (Vivaldi: Dabek et al., SIGCOMM 2004, with the height and adjustment of Ledlie et al., NSDI 2007) is a point whose distance
// to another one estimates the round trip between the two hosts. Single pairs err by ten percent and more; the median over all pairs of
// two regions is good to a few. Inside one region the estimate has a floor of some milliseconds: it says no more than "near".
//
// Coordinates are whole nanoseconds, so that no NaN can travel and results repeat bit for bit. The package is pure: no clock, no lock. It
// is called by whoever keeps coordinates (Fold) and whoever chooses between regions (Between, Ranks); it never decides who serves what.
package latency
