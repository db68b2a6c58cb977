// ADDRESS [TOKEN]: opens a function, says so, and holds it until its stdin ends.
import { attempt, environment, print } from "./environment.ts";

using made = environment({ vfToken: process.argv[3] });
print(attempt(() => made.vfio.open(process.argv[2]!).vendor));
for await (const _ of process.stdin);
