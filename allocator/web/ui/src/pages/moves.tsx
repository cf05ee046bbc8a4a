import { moves } from "../live";
import { Section, Waiting } from "../parts/bits";
import { MovesTable } from "../parts/moves";
import { keep, place } from "../router";
import { count, steps } from "../words";

export function Moves() {
  const known = moves.value;
  if (!known) return <Waiting what="Asking the leader." />;
  const search = place.value.query.get("search") ?? "";
  return (
    <>
      <p class="quiet">The steps of a move: {steps.map((name, i) => `${i + 1} ${name}`).join(", ")}.</p>
      <Section title="Open" aside={<span class="quiet">{count(known.open.length)}</span>}>
        <MovesTable name="Open moves" of={known.open} height={12} empty="Nothing moves." />
      </Section>
      <Section title="Finished" aside={<span class="quiet">{count(known.finishedCount)} under this leader, the newest {count(1_000)} here</span>}>
        <MovesTable name="Finished moves" of={known.finished} height={14} empty="Nothing has moved under this leader." search={search} onSearch={(text) => keep("search", text)} />
      </Section>
    </>
  );
}
