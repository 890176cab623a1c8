# Mutant "abort right after the stamp": P1, P3: it reboots without a slot
search alone
A: reads its Node
A: reads slots and host, sends the confirmation
A: the API applies its confirmation
A: gets the answer to its confirmation
A: reads its Node
A: reads slots and host, sends the claim of slot 0
A: the API applies its claim of slot 0
A: gets the answer to its claim of slot 0
A: reads its Node
A: reads slots and host, sends the cordon
A: the API applies its cordon
A: gets the answer to its cordon
A: reads its Node
A: reads slots and host
A: reads its Node
A: reads slots and host, sends the stamp of slot 0, try 1
A: the API applies its stamp of slot 0, try 1
A: gets the answer to its stamp of slot 0, try 1, calls Reboot, no answer
A: a person uncordons its Node
A: reads its Node
A: reads slots and host, sends the release of slot 0
A: the API applies its release of slot 0
---
A: reads its Node
    slot 0 free | A up
A: reads slots and host, sends the confirmation
    slot 0 free | A up, waits for an answer
A: the API applies its confirmation
    slot 0 free | A up, waits for an answer
A: gets the answer to its confirmation
    slot 0 free | A up
A: reads its Node
    slot 0 free | A up
A: reads slots and host, sends the claim of slot 0
    slot 0 free | A up, waits for an answer
A: the API applies its claim of slot 0
    slot 0 held by A (this boot) | A up, waits for an answer
A: gets the answer to its claim of slot 0
    slot 0 held by A (this boot) | A up
A: reads its Node
    slot 0 held by A (this boot) | A up
A: reads slots and host, sends the cordon
    slot 0 held by A (this boot) | A up, waits for an answer
A: the API applies its cordon
    slot 0 held by A (this boot) | A up, cordoned by us, waits for an answer
A: gets the answer to its cordon
    slot 0 held by A (this boot) | A up, cordoned by us
A: reads its Node
    slot 0 held by A (this boot) | A up, cordoned by us
A: reads slots and host
    slot 0 held by A (this boot) | A up, cordoned by us
A: reads its Node
    slot 0 held by A (this boot) | A up, cordoned by us
A: reads slots and host, sends the stamp of slot 0, try 1
    slot 0 held by A (this boot) | A up, cordoned by us, waits for an answer
A: the API applies its stamp of slot 0, try 1
    slot 0 held by A (this boot, stamped) | A up, cordoned by us, waits for an answer
A: gets the answer to its stamp of slot 0, try 1, calls Reboot, no answer
    slot 0 held by A (this boot, stamped) | A up, cordoned by us, a call of Reboot on its way
A: a person uncordons its Node
    slot 0 held by A (this boot, stamped) | A up, our mark, a call of Reboot on its way
A: reads its Node
    slot 0 held by A (this boot, stamped) | A up, our mark, a call of Reboot on its way
A: reads slots and host, sends the release of slot 0
    cannot happen; instead: A: reads slots and host; A: the call of Reboot arrives late and is accepted; A: the call of Reboot fails
