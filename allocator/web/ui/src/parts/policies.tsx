// What holds for placement, and where each statement was made.
import { toJsonString } from "@bufbuild/protobuf";
import { admin } from "../api";
import { useAnswer } from "../ask";
import { PolicySchema } from "../gen/shardmanager/v1/policy_pb";
import { Pill } from "./bits";
import { Table } from "./table";

// Of one shard, or of the whole app where it is empty.
export function Policies({ app, shard }: { app: string; shard: string }) {
  const { value, error } = useAnswer((signal) => admin.getPolicy({ app, shard }, { signal }), [app, shard]);
  if (error) return <Pill tone="warn">{error}</Pill>;
  if (!value) return null;
  return (
    <>
      {value.notes.map((note) => (
        <p key={note}>
          <Pill tone="warn">{note}</Pill>
        </p>
      ))}
      <Table
        name="Statements"
        rows={value.origins}
        keyOf={(o) => o.field}
        empty="Only defaults hold: neither the cluster nor the app states a policy."
        height={8}
        columns={[
          { title: "Statement", text: (o) => o.field, width: 1 },
          { title: "Made in", text: (o) => o.origin, width: 2 },
        ]}
      />
      {value.effective && (
        <details>
          <summary>The policy that holds, with all defaults</summary>
          <pre tabIndex={0}>{toJsonString(PolicySchema, value.effective, { prettySpaces: 2 })}</pre>
        </details>
      )}
    </>
  );
}
