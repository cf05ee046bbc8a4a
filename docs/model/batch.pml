/* Shards in chunks, writes in several transactions, outcomes that are not known (docs/model/README.md): R12, R24, promises 2, 5.
 *
 * Shards 0 and 1 are in chunk 0, shard 2 in chunk 1; 1 and 2 must not be on one server. A leader takes shards away (acknowledged by the server
 * before the row changes) and grants them, plans by what it has staged, gathers what it stages by chunk, in the order of staging, and writes one
 * or both chunks in one write, of one or two transactions. Each transaction may be lost, stored and not answered, or stored late. A leader
 * may die at any time; what it sent may be stored until its successor holds the lock.
 */
#ifndef T
#define T 4
#endif
#ifndef LEADERS
#define LEADERS 2
#endif
#define NOBODY 2
#define CHUNK(s) ((s) / 2)
#define ON(s, x) ((s) * 2 + (x))

/* the store */
byte own[3], trm[3];
/* what the leader knows to be stored, and what it staged */
bit lead = 1;
byte kown[3], ktrm[3], sown[3], strm[3]; bit staged[3];
bit loaded[3];                  /* found, not granted by this leader: its order is not known to it */
byte q0 = 0, q1 = 0;            /* chunks to write, from 1, in order */
/* the write under way */
bit writing = 0; byte f0 = 0, f1 = 0; bit within[3]; bit split = 0; bit second = 0;
byte tx = 0;                    /* of its transaction: 1 sent, 2 stored and not answered */
/* servers: the term served at, 0: none; the highest ever heard; grants on their way */
byte serves[6], heard[6], told[6];
byte leaders = LEADERS;
#ifdef M_NOSEQUENCE
byte lost = 0; byte lown[3], ltrm[3]; bit lin[3];
#endif

inline check() {
	assert(!(serves[0] && serves[1]) && !(serves[2] && serves[3]) && !(serves[4] && serves[5]));  /* promise 1 */
	assert(own[1] == NOBODY || own[1] != own[2])                                                  /* promise 5, of every prefix */
}
/* a grant is sent: its row is stored, or a later one of the same shard (promise 2) */
inline tell(s, y, t) { assert(trm[s] > t || trm[s] == t && own[s] == y); told[ON(s, y)] = t }
inline queue(c) {
	if :: q0 == c || q1 == c -> skip
	:: else -> if :: q0 == 0 -> q0 = c :: else -> q1 = c fi
	fi
}
inline stage(s, y, t) { staged[s] = 1; sown[s] = y; strm[s] = t; queue(CHUNK(s) + 1) }
inline settled(s) {
	if :: within[s] ->
		kown[s] = sown[s]; ktrm[s] = strm[s]; staged[s] = 0; within[s] = 0; loaded[s] = 0; sown[s] = 0; strm[s] = 0;
		if :: kown[s] != NOBODY -> tell(s, kown[s], ktrm[s]) :: else fi
	:: else fi
}
inline endWrite() { writing = 0; f0 = 0; f1 = 0; split = 0; second = 0; tx = 0 }
inline load(s) { kown[s] = own[s]; ktrm[s] = trm[s]; staged[s] = 0; sown[s] = 0; strm[s] = 0; within[s] = 0; loaded[s] = 1 }
/* a transaction's operation on a chunk: all its shards that are in the write */
#ifdef M_SPLITROW
#define OWNERS (!second || !split)
#define TERMS (second || !split)
#define PART(s) (within[s])
#else
#define OWNERS 1
#define TERMS 1
#define PART(s) (within[s] && (!split || CHUNK(s) + 1 == (second -> f1 : f0)))
#endif
#define STORE(s) if :: PART(s) && OWNERS -> own[s] = sown[s] :: else fi; if :: PART(s) && TERMS -> trm[s] = strm[s] :: else fi

#ifdef M_STAGEDROOM
#define FREE(o, y) ((staged[o] -> sown[o] : kown[o]) != y)
#else
#define FREE(o, y) (kown[o] != y && !(staged[o] && sown[o] == y))  /* room is free once that is stored */
#endif
#define ROOM(s, y) (s == 0 || FREE((3 - s) % 3, y))
#define NEXT(s) (ktrm[s] + 1)
#ifdef M_EARLY
#define ATSTAGE(s, y) tell(s, y, NEXT(s))
#else
#define ATSTAGE(s, y) skip
#endif
#ifdef M_SPLITROW
#define TRUSTS(s) :: d_step { lead && !staged[s] && loaded[s] && kown[s] != NOBODY && serves[ON(s, kown[s])] != ktrm[s] -> tell(s, kown[s], ktrm[s]); check() }
#else
#define TRUSTS(s)
#endif
#define GRANT(s, y) \
	:: d_step { lead && !staged[s] && kown[s] == NOBODY && ktrm[s] < T && ROOM(s, y) -> stage(s, y, NEXT(s)); ATSTAGE(s, y); check() }
#define SHARD(s) \
	:: d_step { lead && !staged[s] && kown[s] != NOBODY && told[ON(s, kown[s])] == 0 -> \
		serves[ON(s, kown[s])] = 0; heard[ON(s, kown[s])] = ktrm[s]; stage(s, NOBODY, ktrm[s]); check() }           /* taken away: it stopped first */ \
	GRANT(s, 0) GRANT(s, 1) \
	:: d_step { lead && !staged[s] && kown[s] != NOBODY && loaded[s] && serves[ON(s, kown[s])] != ktrm[s] && ktrm[s] < T -> \
		stage(s, kown[s], NEXT(s)); check() }                                                                      /* granted anew */ \
	TRUSTS(s) \
	:: d_step { told[ON(s, 0)] > 0 -> HEARS(s, 0); check() } \
	:: d_step { told[ON(s, 1)] > 0 -> HEARS(s, 1); check() }
#define HEARS(s, y) if :: told[ON(s, y)] > heard[ON(s, y)] -> assert(told[ON(s, y)] > heard[ON(s, 1 - (y))]); heard[ON(s, y)] = told[ON(s, y)]; serves[ON(s, y)] = told[ON(s, y)] :: else fi; told[ON(s, y)] = 0

#define TAKES(s) within[s] = staged[s] && (CHUNK(s) + 1 == f0 || CHUNK(s) + 1 == f1)
#ifdef M_SPLITROW
#define MAYSPLIT 1
#else
#define MAYSPLIT (f1 > 0)
#endif
#ifdef M_FIRSTONLY
#define ANSWERED (1)
#else
#define ANSWERED (!split || second)
#endif
#ifdef M_NOSEQUENCE
#define LEFT(s) lown[s] = sown[s]; ltrm[s] = strm[s]; lin[s] = PART(s)
#define LOSE if :: lost == 0 -> lost = 1; LEFT(0); LEFT(1); LEFT(2) :: else fi
#define LATER(s) if :: lin[s] -> own[s] = lown[s]; trm[s] = ltrm[s]; lin[s] = 0 :: else fi; lown[s] = 0; ltrm[s] = 0
#else
#define LOSE skip
#endif

init {
	d_step { own[2] = 1; trm[0] = 1; trm[1] = 1; trm[2] = 1; load(0); load(1); load(2);
		serves[ON(0, 0)] = 1; serves[ON(1, 0)] = 1; serves[ON(2, 1)] = 1; heard[ON(0, 0)] = 1; heard[ON(1, 0)] = 1; heard[ON(2, 1)] = 1; check() };
end:	do
	SHARD(0) SHARD(1) SHARD(2)
	/* the next write: both chunks if they fit, or the first only */
	:: d_step { lead && !writing && q0 > 0 -> writing = 1; f0 = q0; f1 = q1; q0 = 0; q1 = 0; TAKES(0); TAKES(1); TAKES(2); tx = 1; check() }
	:: d_step { lead && !writing && q0 > 0 && q1 > 0 -> writing = 1; f0 = q0; q0 = q1; q1 = 0; TAKES(0); TAKES(1); TAKES(2); tx = 1; check() }
	:: d_step { writing && tx == 1 && !split && MAYSPLIT && !second -> split = 1; check() }                      /* it does not fit one transaction */
	:: d_step { tx == 1 -> STORE(0); STORE(1); STORE(2); tx = 2; check() }
	:: d_step { lead && tx == 2 && !ANSWERED -> second = 1; tx = 1; check() }
	:: d_step { lead && tx == 2 && ANSWERED -> endWrite(); settled(0); settled(1); settled(2); check() }
	/* not answered in time. The sequence is read: stored, as above; else it is written, and that transaction never will be (R12). The second
	 * of a write is then tried again, the first goes back to what is staged */
	:: d_step { lead && tx == 1 && !second -> LOSE; queue(f0);
		if :: q0 != f0 -> q1 = q0; q0 = f0 :: else fi;
		if :: f1 > 0 && q1 == 0 -> q1 = f1 :: else fi;
		endWrite(); within[0] = 0; within[1] = 0; within[2] = 0; check() }
#ifdef M_ASSUME
	:: d_step { lead && tx == 1 && ANSWERED -> endWrite(); settled(0); settled(1); settled(2); check() }
#endif
#ifdef M_NOSEQUENCE
	:: d_step { lost == 1 -> lost = 2; LATER(0); LATER(1); LATER(2); check() }
#endif
	/* the leader dies, or steps down because it could not decide; its successor takes the lock, then reads everything */
	:: d_step { lead && leaders > 0 -> leaders--; lead = 0; check() }
	:: d_step { !lead -> lead = 1; endWrite(); q0 = 0; q1 = 0; load(0); load(1); load(2); check() }
	od
}
