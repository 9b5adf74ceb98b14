// Manifests as a JSON list on standard input; says of each of the operators' kinds whether it is good by its CRD.
import { readFileSync } from "node:fs";

const MODELS = {
  "postgresql.cnpg.io/v1": "@kubernetes-models/cloudnative-pg/postgresql.cnpg.io/v1",
  "keda.sh/v1alpha1": "@kubernetes-models/keda/keda.sh/v1alpha1",
};

let bad = 0;
for (const manifest of JSON.parse(readFileSync(0))) {
  if (!(manifest.apiVersion in MODELS)) continue;
  const models = await import(MODELS[manifest.apiVersion]);
  const name = `${manifest.kind} ${manifest.metadata.name}`;
  try {
    new models[manifest.kind](manifest).validate();
    console.log(`good: ${name}`);
  } catch (error) {
    bad += 1;
    console.log(`bad: ${name}: ${error.message}`);
  }
}
process.exit(bad ? 1 : 0);
