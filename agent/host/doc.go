// Package host measures what an agent's host and the applications beside the agent use, and how much there is: CPU, memory, disk and network
// of the host by gopsutil, CPU and memory of the control group that limits each application's process by package cgroup.
//
// A Sampler reads in goroutines of its own, one for each source, every two seconds; a source that does not answer (a file system on a dead
// server) delays nobody else, and its metrics go missing meanwhile. Values are integers, units are in their names (package load), and all
// but limits are smoothed: an exponential average with a half-life of five seconds, so that of a sudden change 25 % show after one sample and
// 90 % after 17 s. What cannot be read is told once, when that begins and when it ends, and is no metric; nothing is guessed.
//
// Called by package agent. It decides nothing, and keeps no history.
package host
