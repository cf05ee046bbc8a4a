// Planned events: how far each piece is, and what it waits for.
import { admin } from "../api";
import { useAnswer } from "../ask";
import { MaintenanceImpact, MaintenanceKind, MaintenancePieceState, type MaintenanceEvent, type MaintenancePiece } from "../gen/shardmanager/v1/maintenance_pb";
import { timestampOf } from "../events";
import { round, servers } from "../live";
import { Pill, Section, ServerLink, StatePill, Waiting, type Tone } from "../parts/bits";
import { Table } from "../parts/table";
import { to } from "../router";
import { count, duration, serverNotes, word } from "../words";

const tones: Record<MaintenancePieceState, Tone> = {
  [MaintenancePieceState.UNSPECIFIED]: "quiet",
  [MaintenancePieceState.WAITING]: "warn",
  [MaintenancePieceState.APPROVED]: "warn",
  [MaintenancePieceState.READY]: "good",
  [MaintenancePieceState.DONE]: "quiet",
  [MaintenancePieceState.EXPIRED]: "bad",
  [MaintenancePieceState.CANCELLED]: "quiet",
};

const isOpen = (piece: MaintenancePiece) => piece.state < MaintenancePieceState.DONE;

export function Maintenance() {
  const { value, error } = useAnswer((signal) => admin.listMaintenance({}, { signal }), [round.value]);
  const drained = servers.value?.filter((s) => s.draining) ?? [];
  if (!value) return error ? <Pill tone="bad">{error}</Pill> : <Waiting what="Asking the leader." />;
  const open = value.events.filter((e) => e.pieces.some(isOpen));
  const over = value.events.filter((e) => !e.pieces.some(isOpen));
  return (
    <>
      {error && <Pill tone="warn">{error}</Pill>}
      <Section title="Open" aside={<span class="quiet">{count(open.length)}</span>}>
        {open.length === 0 && <p class="empty">No event is planned. Ask for one by `shardmanager maintenance request`.</p>}
        {open.map((e) => (
          <Planned key={e.request?.id} of={e} />
        ))}
      </Section>
      <Section title="Servers that drain" aside={<span class="quiet">{count(drained.length)}</span>}>
        <Table
          name="Servers that drain"
          rows={drained}
          keyOf={(s) => s.server?.id ?? ""}
          hrefOf={(s) => to("servers", s.server?.id ?? "")}
          empty="No server drains."
          height={8}
          columns={[
            { title: "Server", text: (s) => s.server?.id ?? "", cell: (s) => <ServerLink id={s.server?.id ?? ""} />, order: (s) => s.server?.id ?? "", width: 3 },
            { title: "State", text: serverNotes, cell: (s) => <StatePill of={s} />, width: 3 },
            { title: "Shards left", text: (s) => count(s.shards + s.secondaries), order: (s) => s.shards + s.secondaries, number: true, width: 2 },
            { title: "Open moves", text: (s) => count(s.moves), order: (s) => s.moves, number: true, width: 2 },
          ]}
        />
      </Section>
      <Section title="Over" aside={<span class="quiet">{count(over.length)}</span>}>
        <Table
          name="Events that are over"
          rows={over}
          keyOf={(e) => e.request?.id ?? ""}
          empty="None is remembered."
          height={10}
          columns={[
            { title: "Event", text: (e) => e.request?.id ?? "", order: (e) => e.request?.id ?? "", width: 3 },
            { title: "Kind", text: (e) => word(MaintenanceKind, e.request?.kind ?? 0), width: 2 },
            { title: "Pieces", text: (e) => tally(e), width: 4 },
            { title: "By", text: (e) => e.request?.requester ?? "", width: 2 },
            { title: "Reason", text: (e) => e.request?.reason ?? "", width: 5 },
          ]}
        />
      </Section>
    </>
  );
}

function tally(of: MaintenanceEvent): string {
  const states = Map.groupBy(of.pieces, (p) => p.state);
  return [...states].map(([state, list]) => `${count(list.length)} ${word(MaintenancePieceState, state)}`).join(", ");
}

function Planned({ of }: { of: MaintenanceEvent }) {
  const r = of.request;
  const said = [
    `${word(MaintenanceKind, r?.kind ?? 0)} (${word(MaintenanceImpact, r?.impact ?? 0)})`,
    r?.announced ? "announced" : "",
    r?.startMs ? `not before ${timestampOf(r.startMs)}` : "",
    r?.deadlineMs ? `over by ${timestampOf(r.deadlineMs)}` : "",
    r?.durationMs ? `${duration(r.durationMs)} a piece` : "",
    of.waived ? "approved to begin at any time" : "",
    r?.requester ? `asked for by ${r.requester}` : "",
    r?.reason ? `because: ${r.reason}` : "",
  ];
  return (
    <article>
      <h3>
        {r?.id} <span class="quiet">{tally(of)}</span>
      </h3>
      <p>{said.filter(Boolean).join("; ")}</p>
      <Table
        name={`Pieces of ${r?.id}`}
        rows={of.pieces}
        keyOf={(p) => p.covers.map((c) => c.server).join(" ")}
        empty="It covers no server."
        height={8}
        columns={[
          { title: "State", text: (p) => word(MaintenancePieceState, p.state), cell: (p) => <Pill tone={p.never ? "bad" : tones[p.state]}>{word(MaintenancePieceState, p.state)}</Pill>, order: (p) => p.state, width: 3 },
          { title: "Servers", text: (p) => p.covers.map((c) => c.server).join(", "), cell: (p) => p.covers.map((c, i) => [i > 0 && ", ", <ServerLink id={c.server} />]), width: 6 },
          { title: "Time left", text: (p) => (p.leftMs > 0n ? duration(p.leftMs) : ""), number: true, width: 3 },
          { title: "What it waits for", text: (p) => (p.never ? `it can never be: ${p.detail}` : p.detail), width: 8 },
        ]}
      />
    </article>
  );
}
