/* A primary with secondaries (docs/model/README.md): R27, ADR 10, promises 1 and 8, and that a failover loses no acknowledged write.
 *
 * Three servers, one life each; what is durable in the row is a single step, and a command acts when it is sent: that both hold is shown by
 * batch.pml and handover.pml. What is late here is who the primary thinks its secondaries are: memberships travel as they were when they were
 * sent. A write is acknowledged when the primary and all of its members have it: it costs everybody else the right to be in sync.
 */
#ifndef KILLS
#define KILLS 2
#endif
#ifndef VERSIONS
#define VERSIONS 9     /* of the membership, before the calm */
#endif
#ifdef LIVE
#define XV 8
#else
#define XV 0
#endif
#define AT(x, y) ((x) * 3 + (y))

/* a secondary by its row */
#define OUT 0
#define JOINING 1
#define SYNCING 2
#define INSYNC 3
#define LEAVING 4
/* a replica */
#define NONE 0
#define FOLLOWING 1
#define PREPARED 2
#define SERVING 3
#define FORWARDING 4
/* a move */
#define OPENED 1
#define ABORTING 2
#define MOVED 3

/* the row: primary, secondaries, the membership's version, an open switch of the primary */
byte prim = 0, at[3], version = 1, open = 0, to = 0, from = 0, openAt = 0;
bit granted = 0;             /* a grant that the primary has not taken yet */
/* the leader: the primary acknowledged the present version */
bit known = 1;
/* servers; has: every acknowledged write */
bit up[3] = 1; byte phase[3]; bit live[3]; bit has[3]; bit member[9]; byte knows[3];
bit mark = 0;                /* the source's marker came to the target */
/* one membership on its way to a server */
bit sent[3]; byte sentAt[3]; bit list[9];
byte kills = KILLS, who = 0; bit calm = 0;

#define EXECUTES(x) (up[x] && (phase[x] == SERVING || phase[x] == PREPARED && live[x]))
#define ROOM (version < VERSIONS + (calm -> XV : 0))
#define REACHED(x, y) (!member[AT(x, y)] || up[y] && (phase[y] == FOLLOWING || phase[y] == FORWARDING || phase[y] == PREPARED))
inline check() {
	assert(EXECUTES(0) + EXECUTES(1) + EXECUTES(2) <= 1);
	assert((!EXECUTES(0) || has[0]) && (!EXECUTES(1) || has[1]) && (!EXECUTES(2) || has[2]))
}
inline strip(x) { member[AT(x, 0)] = 0; member[AT(x, 1)] = 0; member[AT(x, 2)] = 0; knows[x] = 0; live[x] = 0 }
inline unsend(x) { sent[x] = 0; sentAt[x] = 0; list[AT(x, 0)] = 0; list[AT(x, 1)] = 0; list[AT(x, 2)] = 0 }
inline take(x) {
	member[AT(x, 0)] = list[AT(x, 0)]; member[AT(x, 1)] = list[AT(x, 1)]; member[AT(x, 2)] = list[AT(x, 2)];
	knows[x] = sentAt[x]; unsend(x)
}
inline write(x, y) { if :: y != x && !member[AT(x, y)] -> has[y] = 0 :: else fi }
inline rewrite() { version++; known = 0 }
inline unopen() { open = 0; to = 0; from = 0; openAt = 0; mark = 0 }

/* members(newcomers) of allocator/ledger/membership.go */
#define OLD(x, y) (y != x && at[y] == INSYNC)
#define ALL(x, y) (y != x && (at[y] == INSYNC || at[y] == SYNCING))
#ifdef M_TARGETALONE
#define FORTARGET(x, y) OLD(x, y)
#else
#define FORTARGET(x, y) (y != x && (at[y] == INSYNC || y == from && up[from]))
#endif
#define SEND(x, WHO) sent[x] = 1; sentAt[x] = version; list[AT(x, 0)] = WHO(x, 0); list[AT(x, 1)] = WHO(x, 1); list[AT(x, 2)] = WHO(x, 2)
#ifdef M_SYNCKEPT
#define FOLLOWS(y) skip
#else
#define FOLLOWS(y) if :: at[y] == SYNCING -> at[y] = JOINING :: else fi
#endif
/* a grant: told with it who is in sync (R11, R27) */
inline grant(x) {
	at[x] = OUT; FOLLOWS(0); FOLLOWS(1); FOLLOWS(2);
	if :: open == MOVED && phase[from] == FORWARDING && up[from] && from != x && at[from] == INSYNC -> phase[from] = FOLLOWING :: else fi;
	unopen(); rewrite(); prim = x; granted = 1; SEND(x, OLD)
}
#define HEIR(x) (up[x] && at[x] == INSYNC)
#ifdef M_PROMOTEANY
#define NOHEIR 1
#else
#define NOHEIR (!HEIR(0) && !HEIR(1) && !HEIR(2))
#endif
#ifdef M_NOFENCE
#define OVER 1
#else
#define OVER (!up[prim])
#endif
#define STOPPED (!up[to] || phase[to] == FOLLOWING || phase[to] == NONE)
#define VACANT (OVER && (open == 0 || open == MOVED || open == ABORTING && STOPPED))
#define TELLING (open != OPENED && up[prim])
#ifdef M_SYNCEARLY
#define SYNCED 1
#else
#define SYNCED known
#endif
#ifdef M_UNACKED
#define HANDED (phase[to] == PREPARED)
#else
#define HANDED (mark || phase[to] == PREPARED && !up[from])
#endif

#define SERVER(x) \
	/* failover: to whoever is in sync; to anybody only when nobody is */ \
	:: d_step { VACANT && ROOM && HEIR(x) -> grant(x); check() } \
	:: d_step { VACANT && ROOM && NOHEIR && up[x] && x != prim -> has[0] = LOSES(0); has[1] = LOSES(1); has[2] = LOSES(2); has[x] = OWNS(x); grant(x); check() } \
	/* a secondary: joins, is brought up to date, is in sync; leaves; is lost */ \
	:: d_step { !calm && open == 0 && ROOM && up[x] && x != prim && at[x] == OUT && phase[x] == NONE -> at[x] = JOINING; check() } \
	:: d_step { at[x] == JOINING && open == 0 && up[x] && up[prim] && phase[prim] == SERVING && phase[x] != FOLLOWING -> phase[x] = FOLLOWING; strip(x); check() } \
	:: d_step { at[x] == JOINING && open == 0 && ROOM && up[x] && phase[x] == FOLLOWING && up[prim] && phase[prim] == SERVING && !granted -> at[x] = SYNCING; rewrite(); check() } \
	:: d_step { at[x] == SYNCING && open == 0 && SYNCED -> at[x] = INSYNC; check() } \
	:: d_step { !calm && ROOM && x != prim && at[x] > OUT && at[x] != LEAVING && !(open > 0 && (x == to || x == from)) -> at[x] = LEAVING; rewrite(); check() } \
	:: d_step { at[x] == LEAVING && known && open == 0 -> at[x] = OUT; if :: up[x] -> phase[x] = NONE; strip(x) :: else fi; has[x] = 0; check() } \
	:: d_step { at[x] > OUT && !up[x] && ROOM -> at[x] = OUT; rewrite(); check() } \
	/* a switch of the primary to it */ \
	:: d_step { !calm && open == 0 && ROOM && up[prim] && phase[prim] == SERVING && !granted && HEIR(x) -> version++; known = 0; open = OPENED; openAt = version; from = prim; to = x; check() } \
	/* the primary takes a membership, and whoever is new to it has everything from then on */ \
	:: d_step { sent[x] && up[x] && (EXECUTES(x) || x == prim && granted) && sentAt[x] > knows[x] && \
		(!list[AT(x, 0)] || up[0]) && (!list[AT(x, 1)] || up[1]) && (!list[AT(x, 2)] || up[2]) -> UPTODATE(x, 0); UPTODATE(x, 1); UPTODATE(x, 2); take(x); \
		if :: x == prim && granted && open == 0 -> phase[x] = SERVING; live[x] = 0; granted = 0 :: else fi; check() } \
	/* a grant may name one that is lost since: the primary serves, and acknowledges nothing until it is told */ \
	:: d_step { sent[x] && x == prim && granted && open == 0 && up[x] && !((!list[AT(x, 0)] || up[0]) && (!list[AT(x, 1)] || up[1]) && (!list[AT(x, 2)] || up[2])) -> \
		take(x); phase[x] = SERVING; live[x] = 0; granted = 0; check() } \
	:: d_step { EXECUTES(x) && REACHED(x, 0) && REACHED(x, 1) && REACHED(x, 2) && !calm -> write(x, 0); write(x, 1); write(x, 2); check() } \
	:: d_step { !calm && up[x] && kills > 0 -> kills--; up[x] = 0; phase[x] = NONE; strip(x); unsend(x); has[x] = 0; check() }
#ifdef M_PROMOTEANY
#define OWNS(x) has[x]
#define LOSES(x) has[x]
#else
#define OWNS(x) 1      /* what it has is all that is left */
#define LOSES(x) 0
#endif
#define UPTODATE(x, y) if :: list[AT(x, y)] && !member[AT(x, y)] && !granted -> has[y] = 1 :: else fi

#define KNOWN (knows[prim] == version)
#ifdef M_TARGETALONE
#define TOLD knows[to] = version
#else
#define TOLD if :: version == openAt && up[from] && mark -> knows[to] = version :: else -> version++ fi   /* it was told when it was prepared, unless something changed since */
#endif
#define SETTLED(x) ((at[x] == OUT || at[x] == INSYNC) && (at[x] == OUT || up[x] && member[AT(prim, x)]))
init {
	d_step { phase[0] = SERVING; has[0] = 1; phase[1] = FOLLOWING; has[1] = 1; at[1] = INSYNC; member[AT(0, 1)] = 1; knows[0] = 1; check() };
end:	do
	SERVER(0) SERVER(1) SERVER(2)
	/* memberships to the primary, and to the target of a switch */
#ifdef M_TOLDEARLY
	:: d_step { TELLING && !granted && phase[prim] == SERVING && ROOM && (at[1] == INSYNC || at[2] == INSYNC) && !sent[prim] ->
		sent[prim] = 1; sentAt[prim] = version + 1; check() }                             /* as if everybody had left, which no row says yet */
#endif
	:: d_step { TELLING && !known && !granted && (!sent[prim] || sentAt[prim] < version) && knows[prim] < version -> SEND(prim, ALL); check() }
	:: d_step { TELLING && !known && KNOWN -> known = 1; check() }
	:: d_step { open == OPENED && up[to] && phase[to] == PREPARED && live[to] && version > openAt && knows[to] < version -> SEND(to, FORTARGET); check() }
	/* the switch */
	:: d_step { open == OPENED && up[to] && phase[to] == FOLLOWING -> phase[to] = PREPARED; SEND(to, FORTARGET); check() }
	:: d_step { open == OPENED && up[to] && up[from] && phase[to] == PREPARED && phase[from] == SERVING -> phase[from] = FORWARDING; strip(from); check() }
	:: d_step { open == OPENED && up[to] && up[from] && phase[to] == PREPARED && phase[from] == FORWARDING && !live[to] && sent[to] ->
		take(to); live[to] = 1; mark = 1; check() }
	:: d_step { open == OPENED && up[to] && HANDED && ROOM ->                             /* row 4: who handed over is in sync of whoever took over */
		open = MOVED; prim = to; FOLLOWS(0); FOLLOWS(1); FOLLOWS(2); at[to] = OUT; known = 0;
		if :: up[from] -> at[from] = INSYNC :: else fi; TOLD; check() }
	:: d_step { open == MOVED && up[to] && phase[to] == PREPARED -> if :: !live[to] -> take(to) :: else fi; phase[to] = SERVING; live[to] = 0; check() }
	:: d_step { open == MOVED && up[to] && phase[to] == SERVING && up[from] && phase[from] == FORWARDING -> phase[from] = FOLLOWING; check() }   /* demoted, acknowledged */
	:: d_step { open == MOVED && up[to] && phase[to] == SERVING && (!up[from] || phase[from] == FOLLOWING) -> unopen(); check() }
	:: d_step { open == OPENED && (!calm || !up[to]) && ROOM -> version++; known = 0; open = ABORTING; check() }
	:: d_step { open == ABORTING && up[to] && !STOPPED -> phase[to] = FOLLOWING; strip(to); unsend(to); check() }
	:: d_step { open == ABORTING && STOPPED && up[from] && phase[from] == SERVING -> unopen(); check() }                                       /* it had not begun */
	:: d_step { open == ABORTING && STOPPED && up[from] && phase[from] == FORWARDING && ROOM -> who = from; grant(who); who = 0; check() }
	:: d_step { !calm && known -> known = 0; check() }                                    /* another leader: what was told is asked again */
#ifdef LIVE
	:: d_step { !calm -> calm = 1; check() }
	:: d_step { else -> assert(calm && (open == 0 && up[prim] && phase[prim] == SERVING && known && SETTLED(0) && SETTLED(1) && SETTLED(2) || !up[0] && !up[1] && !up[2])) } -> break
#endif
	od
}
