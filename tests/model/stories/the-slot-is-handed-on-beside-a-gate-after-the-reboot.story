# Mutant "the slot is handed on beside a gate after the reboot": P3: it hands its slot on while a gate after its reboot is shut
search after
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
A: its host loses power
A: its host boots
A: reads its Node
A: reads slots and host, finds no request
A: its kubelet posts that it is Ready in this boot
A: reads its Node
A: reads slots and host, finds no request, sends the uncordon
A: the API applies its uncordon
A: gets the answer to its uncordon, finds no request
A: reads its Node
A: reads slots and host, finds no request, sends the mark of slot 0 that the Node is back
A: the API applies its mark of slot 0 that the Node is back
A: gets the answer to its mark of slot 0 that the Node is back, finds no request
A: reads its Node
A: reads slots and host, finds something not well after a reboot, sends the release of slot 0
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
A: its host loses power
    slot 0 held by A (a former boot, stamped) | A down, cordoned by us, boot not reported
A: its host boots
    slot 0 held by A (a former boot, stamped) | A up, cordoned by us, boot not reported
A: reads its Node
    slot 0 held by A (a former boot, stamped) | A up, cordoned by us, boot not reported
A: reads slots and host, finds no request
    slot 0 held by A (a former boot, stamped) | A up, cordoned by us, boot not reported
A: its kubelet posts that it is Ready in this boot
    slot 0 held by A (a former boot, stamped) | A up, cordoned by us
A: reads its Node
    slot 0 held by A (a former boot, stamped) | A up, cordoned by us
A: reads slots and host, finds no request, sends the uncordon
    slot 0 held by A (a former boot, stamped) | A up, cordoned by us, waits for an answer
A: the API applies its uncordon
    slot 0 held by A (a former boot, stamped) | A up, waits for an answer
A: gets the answer to its uncordon, finds no request
    slot 0 held by A (a former boot, stamped) | A up
A: reads its Node
    slot 0 held by A (a former boot, stamped) | A up
A: reads slots and host, finds no request, sends the mark of slot 0 that the Node is back
    slot 0 held by A (a former boot, stamped) | A up, waits for an answer
A: the API applies its mark of slot 0 that the Node is back
    slot 0 held by A (a former boot, stamped) | A up, waits for an answer
A: gets the answer to its mark of slot 0 that the Node is back, finds no request
    slot 0 held by A (a former boot, stamped) | A up
A: reads its Node
    slot 0 held by A (a former boot, stamped) | A up
A: reads slots and host, finds something not well after a reboot, sends the release of slot 0
    cannot happen; instead: A: reads slots and host, finds no request, sends the release of slot 0
