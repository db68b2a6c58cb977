// The bed of libvirt's own schemas: what its XML has to look like, checked by xmllint. libvirt itself is not installed.
import { existsSync, renameSync } from "node:fs";
import { join } from "node:path";
import { aptInstall, aptMissing, type Bed, commandPath, run } from "./command.ts";
import { downloadPackage, unpackDeb, withScratch } from "./kernel-image.ts";
import { bedState } from "./paths.ts";

const schemas = () => join(bedState("libvirt"), "schemas");
const isReady = () => commandPath("xmllint") !== undefined && existsSync(schemas());

export const libvirtBed: Bed = {
  name: "libvirt",
  missing() {
    return isReady() ? undefined : aptMissing();
  },
  async setup() {
    await aptInstall(commandPath("xmllint") ? [] : ["libxml2-utils"]);
    if (isReady()) return;
    await withScratch(bedState("libvirt"), async (folder) => {
      await unpackDeb(await downloadPackage("libvirt0", folder), folder, ["*/libvirt/schemas/*"]);
      renameSync(join(folder, "usr/share/libvirt/schemas"), schemas());
    });
  },
};

/** Fails with what xmllint says of a domain that is not as libvirt documents it. */
export async function validateDomain(xml: string): Promise<void> {
  await run("xmllint", ["--noout", "--relaxng", join(schemas(), "domain.rng"), "-"], { input: xml });
}
