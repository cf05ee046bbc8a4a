package load

// Names of the metrics that agents measure. Applications and configurations may use the same names for loads and capacities.
const (
	CPUMilli        = "cpu_milli"                         // thousandths of a core that are busy
	MemoryBytes     = "memory_bytes"                      // that cannot be given to others at once
	DiskBytes       = "disk_bytes"                        // of one file system
	NetworkReceive  = "network_receive_bytes_per_second"  // by all interfaces but loopback
	NetworkTransmit = "network_transmit_bytes_per_second" // likewise
)

// Resources is how much of each metric is used, and how much there is. A metric that is not there is not known.
type Resources struct{ Used, Limit map[string]int64 }

// Usage is what an agent measured: of its host, and of the control group that limits a server's process.
type Usage struct{ Host, Cgroup Resources }
