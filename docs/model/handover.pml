/* One shard handed over, taken back and failed over (docs/model/README.md): the ledger's row and what a leader knows beside it, the receiver's
 * table of docs/architecture.md §5, rules R3, R9, R10, R11, R22, R24.
 *
 * Two servers. A move or grant is named by its order, a number that every durable decision about the shard raises; term(o) is the term that
 * came with it. A decision is durable when it is made here: what a lost or unknown transaction does is batch.pml's. A life that was killed, or
 * fenced and waited for, executes nothing any more: that is lease.pml's. So `kill` is both.
 *
 * A command, once sent, may arrive at any later time, any number of times, or never, whoever leads by then; its answer comes with one of its
 * arrivals, or is lost. A leader that is replaced forgets what it knew. Epochs are not needed for what is shown here: orders suffice.
 */
#ifndef NO
#define NO 5      /* orders before the calm */
#endif
#ifndef KILLS
#define KILLS 2
#endif
#ifndef LEADERS
#define LEADERS 1 /* changes of leader */
#endif
#ifndef NINC
#define NINC 2    /* lives of a server before the calm */
#endif
#ifdef LIVE
#define XO 4      /* kept back for the calm */
#define XI 1
#else
#define XO 0
#define XI 0
#endif
#define OO (NO + XO + 1)

/* phases of a replica */
#define NONE 0
#define PREPARED 1
#define SERVING 2
#define FORWARDING 3
/* phases of a move */
#define OPENED 1
#define ABORTING 2
#define MOVED 3
/* answers to CancelMove */
#define NOTBEGUN 1
#define BEGUN 2

/* the row; the other end of a move is 1 - to */
byte move = 1, term = 1;                   /* the highest that were given out */
bit prim = 0; byte primInc = 1, primAt = 1; /* who is primary, since which order; no incarnation: nobody */
byte open = 0, openAt = 0; bit to = 0; byte toInc = 0, fromInc = 0;
/* fixed for an order */
bit target[OO]; byte termOf[OO];
/* what was sent and may still arrive */
bit PA[OO], PD[OO], AD[OO], CA[OO], DA[OO], DB[OO], XF[OO];
bit given[OO];                             /* the target took the marker of that move */
/* what the leader knows */
bit served = 1, idle = 0, known = 1;       /* known: the order at which the primary was granted, R24 */
bit prepared = 0, handed = 0, stopped = 0, mayHand = 0, dropped = 0, giveUp = 0, takeAway = 0, returned = 0;
byte cancelled = 0;
bit stray[2];
/* servers */
bit up[2] = 1; byte inc[2] = 1;
byte phase[2]; byte under[2]; byte heldAt[2]; byte max[2]; byte refused[2];
bit dropping[2]; bit adding[2]; bit activated[2];
byte kills = KILLS, leaders = LEADERS;
byte top = 1; bit topAt = 0; bit calm = 0;
byte o = 0, x = 0;
#ifdef STORAGE
byte raised = 1; bit fresh[2]; byte flying[2]; bit taking[2];
#endif

#define DEAD(x, i) (i == 0 || !up[x] || inc[x] != i)
#define FROM (1 - to)
#define GONEP DEAD(prim, primInc)
#define GONET DEAD(to, toInc)
#define GONEF DEAD(FROM, fromInc)
#define EXECUTES(x) (up[x] && (phase[x] == SERVING || phase[x] == PREPARED && activated[x]))
#define ROOM(n) (move + n <= NO + (calm -> XO : 0))

inline clearTo(x) {
	o = 1;
	do
	:: o <= move ->
		if :: target[o] == x -> PA[o] = 0; AD[o] = 0; XF[o] = 0 :: else -> PD[o] = 0; CA[o] = 0 fi;
		if :: x == 0 -> DA[o] = 0 :: else -> DB[o] = 0 fi;
		o++
	:: else -> break
	od;
	o = 0
}
/* forget what can change nothing any more: it would be refused */
inline purge() {
	o = 1;
	do
	:: o < move ->
#ifndef M_NOMEMORY
		if :: o < max[target[o]] -> PA[o] = 0; AD[o] = 0; XF[o] = 0 :: else fi;
		if :: o < max[1 - target[o]] -> PD[o] = 0; CA[o] = 0 :: else fi;
		if :: o < max[0] -> DA[o] = 0 :: else fi;
		if :: o < max[1] -> DB[o] = 0 :: else fi;
#endif
		if :: (o != openAt || open == 0) && phase[1 - target[o]] != FORWARDING -> given[o] = 0 :: else fi;
		o++
	:: else -> break
	od;
	o = 0
}
inline check() {
	purge();
	assert(!(EXECUTES(0) && EXECUTES(1)));                     /* promise 1 */
#ifdef STORAGE
	assert(!EXECUTES(0) || fresh[0]);                          /* R9: it has read whatever was acknowledged */
	assert(!EXECUTES(1) || fresh[1])
#endif
}
inline rightTo(x, t) { /* it executes from here on, at term t: promise 2 */
	assert(t <= term && (t > top || t == top && topAt == x)); top = t; topAt = x
}
inline unmove() {
	open = 0; openAt = 0; to = 0; toInc = 0; fromInc = 0;
	prepared = 0; handed = 0; stopped = 0; mayHand = 0; dropped = 0; giveUp = 0; cancelled = 0
}
inline unserve() { served = 0; idle = 0; takeAway = 0; returned = 0 }
/* whoever may still hold the shard after a move ends is told to drop it (closeMove) */
inline closeMove(x) {
	if
	:: open > 0 && !GONEF && FROM != x -> stray[FROM] = 1
	:: else fi;
	if
	:: open > 0 && !GONET && to != x && !stopped -> stray[to] = 1
	:: else fi;
	unmove()
}
inline decide(y, t) { move++; target[move] = y; termOf[move] = t }
inline grant(x) { /* R11 was seen to */
	closeMove(x);
#ifdef M_OLDTERM
	decide(x, term);
#else
	term++; decide(x, term);
#endif
	prim = x; primInc = inc[x]; primAt = move; known = 1; stray[x] = 0; unserve()
}
inline retire(x) {
	phase[x] = NONE; under[x] = 0; heldAt[x] = 0; activated[x] = 0; dropping[x] = 0; adding[x] = 0
#ifdef STORAGE
	; taking[x] = 0
#endif
}
#ifdef M_NOINC
#define UNSENT(x) skip
#else
#define UNSENT(x) clearTo(x)
#endif
inline wipe(x) { retire(x); max[x] = 0; refused[x] = 0; UNSENT(x) }
#ifdef STORAGE
#define RAISE(x, t) raised = t; taking[x] = 1
#define READ(x) fresh[x] = 1; taking[x] = 0
#define MAYRAISE(x, t) (t >= raised)
#define QUIET(x) (flying[x] == 0)
#ifdef M_READFIRST
#undef RAISE
#undef READ
#define RAISE(x, t) fresh[x] = 1; taking[x] = 1
#define READ(x) raised = (raised > termOf[max[x]] -> raised : termOf[max[x]]); taking[x] = 0
#endif
#else
#define RAISE(x, t) skip
#define READ(x) skip
#define MAYRAISE(x, t) 1
#define QUIET(x) 1
#endif

/* ---- the leader's decisions (allocator/ledger: place.go, move.go, work.go), each a durable row ---- */
#ifdef M_ABORTFREE
#define HALTED 1
#elif defined(M_ABORTUNBEGUN)
#define HALTED (stopped || GONET || !handed)
#else
#define HALTED (stopped || GONET)
#endif
#ifdef M_UNASKED
#define UNBEGUN (!handed && !idle)
#elif defined(M_FORGETHAND)
#define UNBEGUN ((cancelled == NOTBEGUN || !mayHand) && !idle)
#define LOADED 0
#else
#define UNBEGUN ((cancelled == NOTBEGUN || !mayHand) && !idle)
#endif
#ifndef LOADED
#define LOADED (open > 0)
#endif
#ifdef M_BOTH
#define VACANT GONEP
#else
#define VACANT (GONEP && (open == 0 || open == MOVED || open == ABORTING && HALTED))
#endif
#ifdef M_UNSTOPPED
#define FORWARD (prepared)
#else
#define FORWARD (handed || prepared && GONEF)
#endif
#ifdef M_STUCK
#define ABORTS (!calm)
#else
#define ABORTS (!calm || GONET || giveUp)
#endif
#ifdef M_NOPREPARE
#define HANDS (open == OPENED)
#else
#define HANDS (open == OPENED && prepared)
#endif
#define LEADER \
	:: d_step { !calm && open == 0 && served && !takeAway && !GONEP && up[1 - prim] && ROOM(1) ->                  /* row 1 */ \
		term++; decide(1 - prim, term); open = OPENED; openAt = move; to = 1 - prim; toInc = inc[to]; fromInc = primInc; check() } \
	:: d_step { open == OPENED && !GONET && FORWARD ->                                                             /* row 4 */ \
		open = MOVED; prim = to; primInc = toInc; primAt = openAt; known = 1; unserve(); check() } \
	:: d_step { open == OPENED && ABORTS && ROOM(1) -> decide(to, term); open = ABORTING; check() } \
	:: d_step { open == ABORTING && !GONEF && HALTED && UNBEGUN -> unmove(); check() }                             /* R10, the cheap way */ \
	:: d_step { open == ABORTING && !GONEF && HALTED && !UNBEGUN && ROOM(1) && (!calm || cancelled == BEGUN || handed || idle) -> \
		x = FROM; grant(x); x = 0; check() } \
	:: d_step { VACANT && up[0] && ROOM(1) -> grant(0); check() } \
	:: d_step { VACANT && up[1] && ROOM(1) -> grant(1); check() } \
	:: d_step { open != OPENED && open != ABORTING && !GONEP && idle && !takeAway && ROOM(1) -> grant(prim); check() } /* R9 */ \
	:: d_step { open == MOVED && served && (dropped || GONEF) -> unmove(); check() }                               /* row 8 */ \
	:: d_step { !calm && open == MOVED && served -> if :: !GONEF -> stray[FROM] = 1 :: else fi; unmove(); check() } /* a step skipped */ \
	:: d_step { !calm && open != OPENED && open != ABORTING && !GONEP && !served && !takeAway -> takeAway = 1; check() } \
	:: d_step { takeAway && returned && ROOM(1) -> closeMove(2); decide(prim, term); prim = 0; primInc = 0; primAt = 0; known = 0; unserve(); check() }

/* ---- what it sends, by the durable row ---- */
#ifdef M_EARLYADD
#define ADDABLE (known || open == OPENED && prepared)
#define ADDORDER (open == OPENED -> openAt : primAt)
#else
#define ADDABLE (open != OPENED && open != ABORTING && known && !served && !idle && !takeAway && !GONEP)
#define ADDORDER primAt
#endif
#ifdef M_SENDFIRST
#define CANCELABLE (open == OPENED || open == ABORTING)
#else
#define CANCELABLE (open == ABORTING)
#endif
#define DROPTO(x) if :: x == 0 -> DA[o] = 1 :: else -> DB[o] = 1 fi; o = 0
#define SENDS \
	:: d_step { open == OPENED && !prepared && !GONET && !PA[openAt] && max[to] < openAt -> PA[openAt] = 1; check() } \
	:: d_step { HANDS && !GONEF && (!PD[openAt] || !mayHand) -> PD[openAt] = 1; mayHand = 1; check() } \
	:: d_step { ADDABLE && !AD[ADDORDER] -> AD[ADDORDER] = 1; check() } \
	:: d_step { CANCELABLE && !GONEF && !CA[openAt] && cancelled == 0 -> CA[openAt] = 1; check() } \
	:: d_step { open == ABORTING && !GONET && !stopped && !(to == 0 -> DA[move] : DB[move]) -> o = move; DROPTO(to); check() } \
	:: d_step { open == MOVED && served && !GONEF && !dropped && !(to == 1 -> DA[openAt] : DB[openAt]) -> o = openAt; DROPTO(FROM); check() } \
	:: d_step { takeAway && !returned && !GONEP && !(prim == 0 -> DA[move] : DB[move]) -> o = move; DROPTO(prim); check() } \
	STRAY(0) STRAY(1)
#define NAMED(x) (prim == x && primInc == inc[x] || open > 0 && (to == x && toInc == inc[x] || FROM == x && fromInc == inc[x]))
#define STRAY(x) \
	:: d_step { stray[x] && (!up[x] || NAMED(x)) -> stray[x] = 0; check() } \
	:: d_step { stray[x] && up[x] && !NAMED(x) && !(x == 0 -> DA[move] : DB[move]) -> o = move; DROPTO(x); check() }

/* ---- what servers make of commands (agent/roster/command.go, internal/record/record.go), and the answers ---- */
#ifdef M_NOMEMORY
#define NEWER(x, n) (n > 0)
#else
#define NEWER(x, n) (n > max[x])
#endif
#ifdef M_SAMEORDER
#define RETAKEN(x, n) (n == max[x])
#else
#define RETAKEN(x, n) (n == max[x] && (adding[x] || phase[x] == PREPARED && under[x] == n))
#endif
#define RECEIVES(n) \
	:: d_step { PA[n] && up[target[n]] && NEWER(target[n], n) -> \
		x = target[n]; retire(x); max[x] = n; phase[x] = PREPARED; under[x] = n; heldAt[x] = n; x = 0; check() } \
	:: d_step { PD[n] && up[1 - target[n]] && NEWER(1 - target[n], n) && phase[1 - target[n]] == SERVING -> \
		x = 1 - target[n]; max[x] = n; dropping[x] = 1; x = 0; check() } \
	:: d_step { XF[n] && up[target[n]] && max[target[n]] == n && phase[target[n]] == PREPARED && under[target[n]] == n && !activated[target[n]] && \
		MAYRAISE(target[n], termOf[n]) -> x = target[n]; TRANSFER(n) x = 0; check() } \
	:: d_step { AD[n] && up[target[n]] && (NEWER(target[n], n) || RETAKEN(target[n], n)) && !adding[target[n]] && MAYRAISE(target[n], termOf[n]) && \
		!(phase[target[n]] == SERVING && under[target[n]] == n) && QUIET(target[n]) -> \
		x = target[n]; \
		if :: phase[x] == PREPARED && under[x] == n -> skip :: else -> retire(x) fi; \
		max[x] = n; adding[x] = 1; \
		if :: activated[x] -> skip :: else -> RAISE(x, termOf[n]) fi; \
		x = 0; check() } \
	:: d_step { CA[n] && up[1 - target[n]] && (NEWER(1 - target[n], n) || n == max[1 - target[n]] && phase[1 - target[n]] == SERVING && dropping[1 - target[n]]) -> \
		x = 1 - target[n]; REFUSES(n) x = 0; check() } \
	:: d_step { DA[n] && up[0] && n >= max[0] && !(n == max[0] && phase[0] == NONE && !adding[0]) && QUIET(0) -> retire(0); max[0] = n; check() } \
	:: d_step { DB[n] && up[1] && n >= max[1] && !(n == max[1] && phase[1] == NONE && !adding[1]) && QUIET(1) -> retire(1); max[1] = n; check() }
#ifdef M_CANCELWEAK
#define REFUSES(n) refused[x] = n;
#else
#define REFUSES(n) refused[x] = n; max[x] = n; dropping[x] = 0;
#endif
#ifdef STORAGE
#define TRANSFER(n) RAISE(x, termOf[n]);
#define TRANSFERRED(x) \
	:: d_step { up[x] && taking[x] && !adding[x] && phase[x] == PREPARED -> READ(x); activated[x] = 1; given[under[x]] = 1; rightTo(x, termOf[under[x]]); check() }
#else
#define TRANSFER(n) activated[x] = 1; given[n] = 1; rightTo(x, termOf[n]);
#define TRANSFERRED(x)
#endif
#ifdef M_NOQUIESCE
#define DRAINED(x) 1
#define STOPS(x) XF[max[x]] = 1
#else
#define DRAINED(x) QUIET(x)
#define STOPS(x) phase[x] = FORWARDING; under[x] = max[x]; dropping[x] = 0; XF[max[x]] = 1
#endif
#define CALLBACKS(x) \
	:: d_step { up[x] && dropping[x] && phase[x] == SERVING && DRAINED(x) -> STOPS(x); check() } \
	TRANSFERRED(x) \
	:: d_step { up[x] && adding[x] && max[x] > 0 -> \
		if :: activated[x] -> skip :: else -> READ(x) fi; \
		adding[x] = 0; phase[x] = SERVING; under[x] = max[x]; heldAt[x] = max[x]; activated[x] = 0; rightTo(x, termOf[max[x]]); check() } \
	COMPARE(x)
/* a stream begins: what it holds against what its row says (allocator/ledger/reconcile.go) */
#ifdef M_SILENTDROP
#define UNSURE (!served)
#else
#define UNSURE (!served || phase[prim] == NONE)  /* a hello tells of drops that were taken before it: agent/roster held() */
#endif
#define SERVES(x) (phase[x] == SERVING && termOf[heldAt[x]] == termOf[primAt])
#define COMPARE(x) \
	:: d_step { up[x] && prim == x && primInc == inc[x] && !served && !idle && !takeAway && SERVES(x) -> served = 1; check() } \
	:: d_step { up[x] && prim == x && primInc == inc[x] && UNSURE && !idle && !takeAway && !SERVES(x) && !adding[x] && \
		!((open == OPENED || open == ABORTING) && phase[x] == FORWARDING) && \
		(!known || max[x] > primAt || max[x] == primAt && phase[x] != PREPARED && phase[x] != SERVING) -> served = 0; idle = 1; check() } \
	:: d_step { up[x] && phase[x] != NONE && !NAMED(x) && !stray[x] -> stray[x] = 1; check() }
/* answers; each says something that stays true */
#define ANSWERS \
	:: d_step { open == OPENED && !prepared && !GONET && phase[to] == PREPARED && under[to] == openAt -> prepared = 1; check() } \
	:: d_step { open == OPENED && !giveUp && !GONET && (max[to] > openAt || max[to] == openAt && phase[to] != PREPARED) -> giveUp = 1; check() } \
	HANDSOVER \
	:: d_step { open == OPENED && PD[openAt] && mayHand && !giveUp && !GONEF && phase[FROM] != SERVING && \
		!(phase[FROM] == FORWARDING && under[FROM] == openAt) -> giveUp = 1; idle = 1; check() } \
	:: d_step { open == ABORTING && cancelled == 0 && !GONEF && refused[FROM] == openAt -> cancelled = NOTBEGUN; check() } \
	:: d_step { open == ABORTING && cancelled == 0 && !GONEF && CA[openAt] && max[FROM] >= openAt && refused[FROM] != openAt && \
		!(phase[FROM] == SERVING && dropping[FROM]) -> cancelled = BEGUN; check() } \
	:: d_step { open == ABORTING && !stopped && !GONET && max[to] == move && phase[to] == NONE -> stopped = 1; check() } \
	:: d_step { open == MOVED && served && !dropped && !GONEF && max[FROM] >= openAt && phase[FROM] == NONE -> dropped = 1; check() } \
	:: d_step { takeAway && !returned && !GONEP && max[prim] == move && phase[prim] == NONE && !adding[prim] && (prim == 0 -> DA[move] : DB[move]) -> returned = 1; check() } \
	:: d_step { stray[0] && up[0] && max[0] >= move && phase[0] == NONE -> stray[0] = 0; check() } \
	:: d_step { stray[1] && up[1] && max[1] >= move && phase[1] == NONE -> stray[1] = 0; check() }
#ifdef M_ACKEARLY
#define HANDSOVER :: d_step { open == OPENED && prepared && !handed && !GONEF && max[FROM] == openAt && phase[FROM] == SERVING && dropping[FROM] -> handed = 1; check() }
#elif defined(M_NOQUIESCE)
#define HANDSOVER :: d_step { open == OPENED && prepared && !handed && !GONEF && max[FROM] == openAt && given[openAt] -> handed = 1; check() }
#else
#define HANDSOVER :: d_step { open == OPENED && prepared && !handed && !GONEF && phase[FROM] == FORWARDING && under[FROM] == openAt && given[openAt] -> handed = 1; check() }
#endif

/* ---- faults ---- */
#define LIVES(x) \
	:: d_step { !calm && up[x] && kills > 0 -> kills--; up[x] = 0; wipe(x); stray[x] = 0; check() } \
	:: d_step { !up[x] && (!calm || !up[1 - x]) && inc[x] < NINC + (calm -> XI : 0) -> inc[x]++; up[x] = 1; check() }
#ifdef STORAGE
#define WRITES(x) \
	:: d_step { !calm && EXECUTES(x) && !flying[x] -> flying[x] = termOf[heldAt[x]]; check() } \
	:: d_step { flying[x] > 0 && flying[x] >= raised -> fresh[1 - x] = 0; \
		if :: EXECUTES(x) && termOf[heldAt[x]] == flying[x] -> skip :: else -> fresh[x] = 0 fi; flying[x] = 0; check() } \
	:: d_step { flying[x] > 0 && flying[x] < raised -> flying[x] = 0; check() }                                    /* refused: an older term */
#else
#define WRITES(x)
#endif

init {
	d_step {
		target[1] = 0; termOf[1] = 1; max[0] = 1; phase[0] = SERVING; under[0] = 1; heldAt[0] = 1;
#ifdef STORAGE
		fresh[0] = 1;
#endif
		check()
	};
end:	do
	LEADER SENDS ANSWERS
	RECEIVES(1) RECEIVES(2) RECEIVES(3)
#if NO + XO > 3
	RECEIVES(4)
#endif
#if NO + XO > 4
	RECEIVES(5)
#endif
#if NO + XO > 5
	RECEIVES(6)
#endif
#if NO + XO > 6
	RECEIVES(7)
#endif
#if NO + XO > 7
	RECEIVES(8)
#endif
#if NO + XO > 8
	RECEIVES(9)
#endif
#if NO + XO > 9
	RECEIVES(10)
#endif
	CALLBACKS(0) CALLBACKS(1)
	LIVES(0) LIVES(1)
	WRITES(0) WRITES(1)
	:: d_step { !calm && leaders > 0 -> leaders--;                                  /* whoever leads next knows the row, and nothing else */
		unserve(); prepared = 0; handed = 0; stopped = 0; dropped = 0; giveUp = 0; cancelled = 0; stray[0] = 0; stray[1] = 0;
		mayHand = LOADED; known = (open == MOVED); check() }
#ifdef LIVE
	:: d_step { !calm -> calm = 1; check() }
	/* nothing is left to do: one serves, and no move is open (promises 3, 8) */
	:: d_step { else -> assert(calm && open == 0 && !GONEP && served && SERVES(prim) && !EXECUTES(1 - prim)) } -> break
#endif
	od
}
