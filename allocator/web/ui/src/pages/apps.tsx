import { apps, servers } from "../live";
import { Waiting } from "../parts/bits";
import { keep, place } from "../router";
import { AppsTable } from "./overview";

export function Apps() {
  if (!apps.value) return <Waiting what="Asking the leader." />;
  return <AppsTable specs={apps.value} list={servers.value ?? []} height={24} search={place.value.query.get("search") ?? ""} onSearch={(text) => keep("search", text)} />;
}
