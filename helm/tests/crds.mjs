// Judges custom objects by the schemas of their CRDs. usage: node crds.mjs FOLDER_WITH_node_modules < objects.json
// The schemas check types and what is required; a field that they do not know they let pass, as the API server does
// (without a word). So fields are compared with the interfaces of the same packages.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const packages = join(process.argv[2], "node_modules", "@kubernetes-models");
const families = { "monitoring.coreos.com": ["prometheus-operator", "index.js"], "keda.sh": ["keda", "index.js"] };
// Where in an object which interface holds. `*` is every entry of a list.
const interfaces = {
  PodMonitor: { spec: "PodMonitorSpec", "spec.podMetricsEndpoints.*": "PodMetricsEndpoint" },
  ServiceMonitor: { spec: "ServiceMonitorSpec", "spec.endpoints.*": "Endpoint" },
  PrometheusRule: { spec: "PrometheusRuleSpec", "spec.groups.*": "RuleGroup", "spec.groups.*.rules.*": "Rule" },
  ScaledObject: { spec: "ScaledObjectSpec" },
};

const errors = [];
for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  const say = (sentence) => errors.push(`${object.kind}/${object.metadata?.name}: ${sentence}`);
  const [group, version] = object.apiVersion.split("/");
  const [family, index] = families[group] ?? [];
  if (!family) {
    say(`no schema for ${object.apiVersion}`);
    continue;
  }
  const folder = join(packages, family, group, version);
  const kinds = await import(pathToFileURL(join(folder, index)));
  if (!kinds[object.kind]) {
    say(`${object.apiVersion} has no such kind`);
    continue;
  }
  try {
    new kinds[object.kind](object).validate();
  } catch (error) {
    say(error.message);
  }
  for (const [path, name] of Object.entries(interfaces[object.kind] ?? {})) {
    const known = fields(join(folder, `${name}.d.ts`));
    for (const part of parts(object, path ? path.split(".") : [])) {
      for (const key of Object.keys(part)) if (!known.has(key)) say(`${path}: unknown field ${key}`);
    }
  }
}
process.stdout.write(JSON.stringify(errors));

/** The names of the fields of the first interface in the file. */
function fields(file) {
  const body = readFileSync(file, "utf8").split(/export interface \w+[^{]*\{\n/)[1].split("\n}")[0];
  const found = [...body.matchAll(/^ {4}"?(\w+)"?\??:/gm)].map((match) => match[1]);
  if (found.length === 0) throw new Error(`no fields in ${file}`);
  return new Set([...found, "apiVersion", "kind", "metadata"]);
}

/** What is at the path; none, one or, behind `*`, many. */
function parts(value, path) {
  if (value === undefined || value === null) return [];
  const [first, ...rest] = path;
  if (first === undefined) return [value];
  return first === "*" ? value.flatMap((entry) => parts(entry, rest)) : parts(value[first], rest);
}
