# Mutant "trust the watch": P2: it calls Reboot while a pod is left
search drain
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
A: reads the host again, finds that a person holds the node
A: reads its Node
A: reads slots and host, evicts the pod
A: a pod comes to its Node
A: hears that pod 0 has left
A: reads the host again, sends the stamp of slot 0, try 1
A: the API applies its stamp of slot 0, try 1
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
A: reads the host again, finds that a person holds the node
    slot 0 held by A (this boot) | A up, cordoned by us
A: reads its Node
    slot 0 held by A (this boot) | A up, cordoned by us
A: reads slots and host, evicts the pod
    slot 0 held by A (this boot) | A up, cordoned by us
A: a pod comes to its Node
    slot 0 held by A (this boot) | A up, cordoned by us
A: hears that pod 0 has left
    slot 0 held by A (this boot) | A up, cordoned by us
A: reads the host again, sends the stamp of slot 0, try 1
    cannot happen; instead: A: reads the host again; A: wants to look again
