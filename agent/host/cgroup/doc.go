// Package cgroup reads what limits a process, and how much of it is used: the CPU time and memory of the control groups, version 1, version 2
// or both side by side, that the process is in.
//
// Limits nest: a process may use no more than the tightest of its group and of every group above it. A Reading tells that one, and what all
// processes under it use together; where nothing limits, the process's own group. Groups above the root that this process sees (a namespace,
// a mount of a subtree) are not visible, and neither are their limits.
//
// Files are read through an fs.FS, everything else is a function of their texts. Called by agent/host only. It never writes, follows no link
// out of its fs.FS, and knows no host: what is free outside of groups is told elsewhere.
package cgroup
