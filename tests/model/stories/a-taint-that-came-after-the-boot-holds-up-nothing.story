# Mutant "a taint that came after the boot holds up nothing": P3: it hands its slot on beside a taint that was not there at the claim
search taints
A: reads its Node
A: reads slots and host, sends the confirmation
A: the API applies its confirmation
A: gets the answer to its confirmation
A: reads its Node
A: reads slots and host, sends the claim of slot 0
A: the API applies its claim of slot 0
A: its host loses power
A: its host boots
A: its kubelet posts that it is Ready in this boot
A: reads its Node
A: reads slots and host, finds no request
A: reads its Node
A: reads slots and host, finds no request, sends the confirmation
A: the API applies its confirmation
A: gets the answer to its confirmation, finds no request
A: its Node gets a taint that it did not have at the claim
A: reads its Node
A: reads slots and host, finds no request, sends the release of slot 0
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
A: its kubelet posts that it is Ready in this boot
    slot 0 held by A (a former boot) | A up
A: reads its Node
    slot 0 held by A (a former boot) | A up
A: reads slots and host, finds no request
    slot 0 held by A (a former boot) | A up
A: reads its Node
    slot 0 held by A (a former boot) | A up
A: reads slots and host, finds no request, sends the confirmation
    slot 0 held by A (a former boot) | A up, waits for an answer
A: the API applies its confirmation
    slot 0 held by A (a former boot) | A up, waits for an answer
A: gets the answer to its confirmation, finds no request
    slot 0 held by A (a former boot) | A up
A: its Node gets a taint that it did not have at the claim
    slot 0 held by A (a former boot) | A up, a new taint
A: reads its Node
    slot 0 held by A (a former boot) | A up, a new taint
A: reads slots and host, finds no request, sends the release of slot 0
    cannot happen; instead: A: reads slots and host, finds no request; A: that taint goes
