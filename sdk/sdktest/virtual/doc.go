// Package virtual tests a service that uses sdk.Host in a whole cluster, in memory and in virtual time: minutes of leases, moves, pauses and
// failovers take a second or less, and no socket, process or real clock takes part.
//
// # A test
//
// Say how a server of the service is made, and what a write and a read of one shard's value are; then play:
//
//	func TestService(t *testing.T) {
//		app := func(checker *ownership.Checker) sdktest.App {
//			shared := newStorage()
//			return sdktest.App{
//				New:   func(_ testing.TB, server string) sdk.Handler { return newService(shared) },
//				Write: func(ctx context.Context, h sdk.Handler, s sdk.Shard, value string) error { return h.(*Service).Set(ctx, s, value) },
//				Read:  func(ctx context.Context, h sdk.Handler, s sdk.Shard) (string, error) { return h.(*Service).Get(ctx, s) },
//				Durable: true,
//			}
//		}
//		virtual.Test(t, virtual.Config{App: app}, func(t *testing.T, c *virtual.Cluster) {
//			c.Load(1, 200*time.Millisecond)
//			c.Pause("a") // its lease runs out, and others take over
//			time.Sleep(20 * time.Second)
//			c.Resume("a") // it finishes the writes that it had begun
//		})
//	}
//
// Test waits until all shards are served before it plays. After it, it ends all faults, waits until all shards are served again, and reads every
// value back. Whatever was wrong is an error of the test, with a history of the shard: see package ownership for what is watched. Chaos plays
// faults that a seed draws, and names the seed with what they break.
//
// # What is real
//
// Hosts are the real ones, with their guards, callbacks, forwarding, streams of state, and Connect calls over HTTP/2, in a network in memory. So is
// sdk.Router (Cluster.Router), and what App.Mount serves. Agents and the leader are the kit's own, and small: they keep the protocol's order (a
// decision is durable before it is told; whoever may execute a shard has stopped, or its lease has ended for certain, before another may; every
// grant has a new term) and know none of the policies by which real ones place shards and judge losses.
//
// # What is not
//
// All goroutines run in one process, so Kill and Pause reach only what the kit sees: the network, the callbacks, and operations of Load, Write, Read
// and Operate before and after the application's part. A goroutine of the application that neither calls nor is called goes on, as the timer in a
// process cannot while it stands still. Everything that the service waits for has to be a channel, a timer, or the Cluster's network: real
// sockets and files hold virtual time up (see testing/synctest). Schedules repeat by seed, interleavings of goroutines do not.
//
// Nothing here is safe outside tests.
package virtual
