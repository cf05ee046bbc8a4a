/* Leases, fences, leadership and outages of the store (docs/model/README.md).
 *
 * Two servers that live NL lives each (one life = one incarnation), two allocators, the store; one shard, whose row names a life. What is
 * shown here is what handover.pml and secondaries.pml take for granted: once a leader holds a life for over, it executes nothing, ever.
 *
 * Time. A tick of real time moves every clock by SLOW or FAST of its units, anew in each tick: a clock that errs by d either way, with
 * (1+d)/(1-d) = FAST/SLOW. Permissions and waits are counted in units of the clock of whoever has them. All steps may come as late as they
 * like, so pauses need nothing of their own.
 * A permission is as long as the rules let it be at every instant (renew()): no rule asks that one be over, so shorter ones are covered.
 * What a leader has committed may be heard of at any time afterwards, or never.
 */
#ifndef V
#define V 2          /* lease.validity, in units */
#endif
#ifndef LV
#define LV 4         /* leader.validity */
#endif
#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef NL
#define NL 2         /* lives of a server before the calm */
#endif
#define ML 3         /* the third is for the calm */
#define SLOW 2
#define FAST 3

/* A permission holds through its last instant, so it counts one unit more; a wait is strictly longer than that. */
#define PERMIT(n) ((n) + 1)
#if defined(M_DRIFT)
#define COVER(n) ((n) + 1)
#else
#define COVER(n) ((n) * FAST / SLOW + 1)
#endif
#if defined(M_NOWAIT)
#define FENCEWAIT 0
#else
#define FENCEWAIT COVER(V)
#endif
#if defined(M_NOBASE)
#define BASE 0
#else
#define BASE COVER(LV)
#endif

/* lives: 0..2 of server 0, 3..5 of server 1 */
#define LIVES 6
#define SRV(i) ((i) / ML)
#define UNBORN 0
#define ALIVE 1
#define ENDED 2

/* the store */
bit reach = 1;                      /* it answers */
byte lock = 0; bit clean = 1;       /* who leads, by number from 1; the clean mark */
byte key[2];                        /* servers/<id>: the life that is registered, from 1 */
byte fence[2];                      /* fences/<id>: the life fenced last, from 1 */
byte owner = 0, term = 1;           /* the row */
/* lives */
byte state[LIVES]; byte lease[LIVES];
byte told[LIVES];                   /* a grant of that term is on its way to it, or was heard */
byte holds[LIVES];                  /* serves as primary at that term */
bit named[LIVES];                   /* its key says that the life before it was ended by its agent (R2) */
/* leaders */
bit lead[2]; byte proof[2], base[2];
byte seen[2 * LIVES];               /* 1: read in its key, vouched for; 2: fenced, never again */
bit fenced[2]; byte wait[2];        /* the fence of the row's owner: stored; what is left of the wait */
bit led[2];                         /* led when the store went away */
bit lost[2];                        /* the host is gone for good, and says nothing */
byte faults = FAULTS, away = 0;
bit calm = 0;
#ifdef M_REPLY
byte reply[LIVES];
#endif
#ifdef M_LATECHECK
bit checked[2];
#endif
#ifdef M_SESSION
bit session[LIVES];
#endif
#ifdef M_WAITSENT
bit sent[2];
#endif

#define AT(l, i) ((l) * LIVES + (i))
#define HOLDS(l) (reach && lead[l] && lock == (l) + 1)
#define REGISTERED(i) (key[SRV(i)] == (i) + 1)
#define PRIMARY(i) (state[i] == ALIVE && lease[i] > 0 && holds[i] > 0)

#if defined(M_NOPROOF)
#define PROVEN(l) lead[l]
#elif defined(M_LATECHECK)
#define PROVEN(l) (lead[l] && checked[l])
#elif defined(M_NEEDSTORE)
#define PROVEN(l) (lead[l] && reach && proof[l] > 0)
#else
#define PROVEN(l) (lead[l] && proof[l] > 0)
#endif
#define VOUCHES(l, i) (PROVEN(l) && seen[AT(l, i)] == 1)

/* ---- every permission, as long as it may be ---- */
#define CONFIRM(l) if :: HOLDS(l) -> proof[l] = PERMIT(LV) :: else fi
#ifdef M_WELCOME
#define WELCOME(l, i) if :: reach && lead[l] && state[i] == ALIVE && seen[AT(l, i)] == 0 -> seen[AT(l, i)] = 1 :: else fi
#else
#define WELCOME(l, i) if :: reach && lead[l] && REGISTERED(i) && seen[AT(l, i)] == 0 -> seen[AT(l, i)] = 1 :: else fi
#endif
#ifdef M_REPLY
#define GRANT(i) if :: VOUCHES(0, i) || VOUCHES(1, i) -> reply[i] = 1 :: else fi
#else
#define GRANT(i) if :: VOUCHES(0, i) || VOUCHES(1, i) -> lease[i] = PERMIT(V) :: else fi
#endif
#ifdef M_SESSION
#define STORE(i) (session[i])
#else
#define STORE(i) REGISTERED(i)
#endif
#define RENEW(i) WELCOME(0, i); WELCOME(1, i); \
	if :: state[i] == ALIVE -> GRANT(i); if :: reach && STORE(i) -> lease[i] = PERMIT(V) :: else fi :: else fi
inline renew() { CONFIRM(0); CONFIRM(1); RENEW(0); RENEW(1); RENEW(2); RENEW(3); RENEW(4); RENEW(5) }

#define PRIMARIES (PRIMARY(0) + PRIMARY(1) + PRIMARY(2) + PRIMARY(3) + PRIMARY(4) + PRIMARY(5))
#define ANYLEASE (lease[0] + lease[1] + lease[2] + lease[3] + lease[4] + lease[5] > 0)
/* an outage shorter than LV passes unnoticed where a leader led when it began (promise 7) */
#if defined(M_REPLY) || defined(M_LATECHECK)
#define CARRIED(l, i) 1  /* there a lease is not renewed at every instant */
#else
#define CARRIED(l, i) (!led[l] || seen[AT(l, i)] != 1 || state[i] != ALIVE || lease[i] > 0)
#endif
#define CARRIES(l) (CARRIED(l, 0) && CARRIED(l, 1) && CARRIED(l, 2) && CARRIED(l, 3) && CARRIED(l, 4) && CARRIED(l, 5))
inline check() {
	renew();
	assert(PRIMARIES <= 1);                                          /* promise 1 */
	assert(reach || away * SLOW <= LV + V || !ANYLEASE);             /* nobody serves longer than LV + V without the store */
	assert(reach || away * FAST > LV || CARRIES(0) && CARRIES(1))
}

inline dec(v, by) { if :: v > by -> v = v - by :: else -> v = 0 fi }
inline leaderClock(l) {
	if :: rate = SLOW :: rate = FAST fi;
	dec(proof[l], rate); dec(base[l], rate); dec(wait[l], rate)
}
inline serverClock(i) {
	if :: rate = SLOW :: rate = FAST fi;
	dec(lease[i], rate); dec(lease[i + 1], rate); dec(lease[i + 2], rate)
}
inline tick() {
	leaderClock(0); leaderClock(1); serverClock(0); serverClock(3); rate = 0;
	if :: !reach && away < 15 -> away++ :: else fi
}
inline forget(l) {
	lead[l] = 0; proof[l] = 0; base[l] = 0; fenced[l] = 0; wait[l] = 0; led[l] = 0;
	seen[AT(l, 0)] = 0; seen[AT(l, 1)] = 0; seen[AT(l, 2)] = 0; seen[AT(l, 3)] = 0; seen[AT(l, 4)] = 0; seen[AT(l, 5)] = 0
#ifdef M_LATECHECK
	; checked[l] = 0
#endif
#ifdef M_WAITSENT
	; sent[l] = 0
#endif
}
inline bar(l, x) { if :: fence[x] > 0 -> seen[AT(l, fence[x] - 1)] = 2 :: else fi }
/* R1, R12: the lock first, then everything is read, fences too */
inline acquire(l) {
	lock = l + 1; lead[l] = 1; proof[l] = PERMIT(LV);
	if :: clean -> base[l] = 0 :: else -> base[l] = BASE fi;
	clean = 0; bar(l, 0); bar(l, 1);
	if :: fence[SRV(owner)] == owner + 1 -> fenced[l] = 1; wait[l] = FENCEWAIT + base[l] :: else fi
}
/* the transaction of a fence; grants stopped before it (R2) */
inline fenceOwner(l) {
#ifndef M_KEEPKEY
	if :: REGISTERED(owner) -> key[SRV(owner)] = 0 :: else fi;
#endif
	fence[SRV(owner)] = owner + 1;
#ifndef M_GRANTFENCED
	seen[AT(l, owner)] = 2;
#endif
#ifndef M_WAITSENT
	wait[l] = FENCEWAIT + base[l];
#endif
	fenced[l] = 1
}
inline end(i) { /* the agent ends its life, whatever else there is (R2) */
	state[i] = ENDED; lease[i] = 0; holds[i] = 0; told[i] = 0
#ifdef M_REPLY
	; reply[i] = 0
#endif
}
inline grant(l, i) { /* the row first; it is heard of afterwards (promise 2) */
	term++; owner = i; told[i] = term;
	fenced[0] = 0; wait[0] = 0; fenced[1] = 0; wait[1] = 0
#ifdef M_WAITSENT
	; sent[0] = 0; sent[1] = 0
#endif
}

#if defined(M_NEWERKEY)
#define SUCCEEDED (key[SRV(owner)] > owner + 1)
#elif defined(M_ENDEDLAST)
#define SUCCEEDED (key[SRV(owner)] > owner + 1 && named[key[SRV(owner)] - 1])
#else
#define SUCCEEDED (key[SRV(owner)] > owner + 1 && named[owner + 1] && (key[SRV(owner)] == owner + 2 || named[(owner + 2) % LIVES]))
#endif
#ifdef M_UNPROVEN
byte lied = 0;
#define REPORTED (state[owner] == ENDED && !lost[SRV(owner)] || lied == owner + 1)
#else
#define REPORTED (state[owner] == ENDED && !lost[SRV(owner)])   /* R5: its agent ended it before it said so */
#endif
#define OVER(l) (fenced[l] && wait[l] == 0 || SUCCEEDED || REPORTED)
#define SERVED (state[owner] == ALIVE && lease[owner] > 0)
#define LAST(i) ((i) % ML == NL - 1)
#ifdef M_SESSION
#define OPENED(i) session[i] = 1;
#define CLOSED(i) session[i] = 0;
#else
#define OPENED(i)
#define CLOSED(i)
#endif

#define LEADER(l) \
	:: d_step { reach && !lead[l] && lock == 0 -> acquire(l); check() } \
	:: d_step { reach && lead[l] && lock != l + 1 -> forget(l); check() } \
	:: d_step { !calm && lead[l] && faults > 0 -> faults--; forget(l); check() }                     /* crash, or stepping down */ \
	:: d_step { !calm && HOLDS(l) && faults > 0 -> faults--; lock = 0; clean = 0; check() }           /* its session ends: unseated, R16, or by mistake */ \
	:: d_step { reach && lock == l + 1 && !lead[l] -> lock = 0; clean = 0; check() } \
	RELEASE(l) \
	:: d_step { HOLDS(l) && !fenced[l] && DECIDED(l) && DUE(l) -> fenceOwner(l); check() } \
	DECIDES(l) \
	GRANTS(l, 0) GRANTS(l, 1) GRANTS(l, 2) GRANTS(l, 3) GRANTS(l, 4) GRANTS(l, 5)
#if defined(M_UNCLEAN)
#define RELEASE(l) :: d_step { !calm && HOLDS(l) -> clean = 1; lock = 0; check() }
#elif defined(M_CLEANEARLY)
#define RELEASE(l) :: d_step { !calm && HOLDS(l) -> clean = 1; forget(l); lock = 0; check() }
#else
#define RELEASE(l) :: d_step { !calm && HOLDS(l) -> clean = (base[l] == 0); forget(l); lock = 0; check() }  /* R1 */
#endif
#ifdef M_WAITSENT
#define DECIDES(l) \
	:: d_step { HOLDS(l) && !fenced[l] && !sent[l] -> sent[l] = 1; seen[AT(l, owner)] = 2; wait[l] = FENCEWAIT + base[l]; check() }
#define DECIDED(l) sent[l]
#else
#define DECIDES(l)
#define DECIDED(l) 1
#endif
#ifdef M_NEVERFENCE
#define DUE(l) (!calm)
#else
#define DUE(l) (!calm || !SERVED)
#endif
#define GRANTS(l, i) \
	:: d_step { HOLDS(l) && OVER(l) && state[i] == ALIVE && seen[AT(l, i)] == 1 -> grant(l, i); check() }

#ifdef M_NOINC
#define TELLS(i) (told[i] > 0 || i % ML > 0 && told[i - (i % ML > 0)] > 0)
#define TERMOF(i) (told[i] > 0 -> told[i] : told[i - (i % ML > 0)])
#else
#define TELLS(i) (told[i] > 0)
#define TERMOF(i) told[i]
#endif
#ifdef M_REKEY
#define REKEY(i) :: d_step { !calm && reach && state[i] == ALIVE && key[SRV(i)] == 0 -> key[SRV(i)] = i + 1; check() }
#else
#define REKEY(i)
#endif
#ifdef M_REPLY
#define HEARS(i) :: d_step { state[i] == ALIVE && reply[i] -> reply[i] = 0; lease[i] = PERMIT(V); check() }
#else
#define HEARS(i)
#endif
#define LIFE(i) \
	:: d_step { state[i] == ALIVE && TELLS(i) && holds[i] < TERMOF(i) -> holds[i] = TERMOF(i); check() }          /* AddShard */ \
	:: d_step { !calm && state[i] == ALIVE && faults > 0 -> faults--; end(i); check() }                           /* crash */ \
	:: d_step { reach && state[i] == ENDED && REGISTERED(i) -> key[SRV(i)] = 0; CLOSED(i) check() }               /* destroyed, or its time to live */ \
	:: d_step { !calm && reach && state[i] == ALIVE && REGISTERED(i) && faults > 0 -> faults--; key[SRV(i)] = 0; CLOSED(i) check() } \
	:: d_step { reach && state[i] == ALIVE && !REGISTERED(i) && !VOUCHES(0, i) && !VOUCHES(1, i) -> CLOSED(i) end(i); check() }  /* R2, R13 */ \
	REKEY(i) HEARS(i)
/* the next life j of a server, after i: its agent ended i and says so, or knows nothing of it (a new host of the same name, R26) */
#define BIRTH(i, j) \
	:: d_step { reach && key[SRV(i)] == 0 && !lost[SRV(i)] && state[i] == ENDED && state[j] == UNBORN && (!LAST(i) || calm) -> \
		state[j] = ALIVE; key[SRV(j)] = j + 1; named[j] = 1; OPENED(j) check() } \
	:: d_step { !calm && reach && key[SRV(i)] == 0 && !lost[SRV(i)] && state[i] == ALIVE && state[j] == UNBORN && !LAST(i) && faults > 0 -> \
		faults--; state[j] = ALIVE; key[SRV(j)] = j + 1; OPENED(j) check() }

#define ENDS(i) if :: state[i] == ALIVE -> end(i) :: else fi
#define HOST(x) \
	:: d_step { !calm && faults > 0 && !lost[0] && !lost[1] -> faults--; lost[x] = 1; ENDS(x * ML); ENDS(x * ML + 1); ENDS(x * ML + 2); check() }
byte rate = 0;
init {
	d_step { key[0] = 1; key[1] = ML + 1; state[0] = ALIVE; state[ML] = ALIVE; told[0] = 1; holds[0] = 1; OPENED(0) OPENED(3) check() };
	do
	:: atomic { !calm || wait[0] + wait[1] > 0 -> tick(); d_step { check() } }
#ifdef M_UNPROVEN
	:: d_step { !calm && faults > 0 -> faults--; lied = owner + 1; check() }
#endif
#ifdef M_LATECHECK
	:: d_step { !calm && !checked[0] && lead[0] && proof[0] > 0 -> checked[0] = 1; check() }
	:: d_step { !calm && !checked[1] && lead[1] && proof[1] > 0 -> checked[1] = 1; check() }
#endif
	:: d_step { !calm && reach && faults > 0 -> faults--; led[0] = HOLDS(0); led[1] = HOLDS(1); reach = 0; check() }
	:: d_step { !reach -> reach = 1; away = 0; led[0] = 0; led[1] = 0; check() }
	LEADER(0)
	LEADER(1)
	LIFE(0) LIFE(1) LIFE(2) LIFE(3) LIFE(4) LIFE(5)
	BIRTH(0, 1) BIRTH(1, 2) BIRTH(3, 4) BIRTH(4, 5)
	HOST(0) HOST(1)
#ifdef LIVE
	/* no fault and no whim from here on: whatever is left to do is done in some order, and then somebody serves (promise 3) */
	:: d_step { !calm -> calm = 1; check() }
	:: d_step { else -> assert(calm && PRIMARIES == 1) } -> break
#endif
	od
}
