// What `tables.mjs` makes at build time: by language, the translations of the texts that the bundle's code has.

declare module "pellucid:tables" {
  const tables: Record<string, Record<string, string>>;
  export default tables;
}
