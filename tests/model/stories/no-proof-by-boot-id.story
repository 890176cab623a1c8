# Mutant "no proof by boot id": P2: it calls Reboot without a stamped slot of its pool
search alone
A: reads its Node
A: reads slots and host, sends the confirmation
A: the API applies its confirmation
A: gets the answer to its confirmation
A: reads its Node
A: reads slots and host, sends the claim of slot 0
A: the API applies its claim of slot 0
A: its host loses power
A: its host boots
A: a request appears
A: a person cordons its Node
A: reads its Node
A: reads slots and host, sends the confirmation
A: the API applies its confirmation
A: gets the answer to its confirmation
A: reads its Node
A: reads slots and host
A: reads its Node
A: reads slots and host, sends the stamp of slot 0, try 1
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
A: its host loses power
    slot 0 held by A (a former boot) | A down, boot not reported
A: its host boots
    slot 0 held by A (a former boot) | A up, boot not reported
A: a request appears
    slot 0 held by A (a former boot) | A up, boot not reported
A: a person cordons its Node
    slot 0 held by A (a former boot) | A up, cordoned by a person, boot not reported
A: reads its Node
    slot 0 held by A (a former boot) | A up, cordoned by a person, boot not reported
A: reads slots and host, sends the confirmation
    cannot happen; instead: A: reads slots and host; A: its kubelet posts that it is Ready in this boot
