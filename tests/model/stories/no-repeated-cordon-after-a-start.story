# Mutant "no repeated cordon after a start": P2: it calls Reboot while its Node is not cordoned
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
A: reads slots and host, finds that a person holds the node, sends the uncordon
A: gives up waiting for the answer to its uncordon
A: reads its Node
A: reads slots and host
A: reads its Node
A: reads slots and host, sends the stamp of slot 0, try 1
A: the API applies its stamp of slot 0, try 1
A: the API applies the late uncordon
A: gets the answer to its stamp of slot 0, try 1, calls Reboot, logind accepts
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
A: reads slots and host, finds that a person holds the node, sends the uncordon
    slot 0 held by A (this boot) | A up, cordoned by us, waits for an answer
A: gives up waiting for the answer to its uncordon
    slot 0 held by A (this boot) | A up, cordoned by us, a late write to the Node on its way
A: reads its Node
    slot 0 held by A (this boot) | A up, cordoned by us, a late write to the Node on its way
A: reads slots and host
    cannot happen; instead: A: reads slots and host, sends the cordon; A: the API applies the late uncordon; A: the late uncordon is lost
