# Mutant "a taint that people ignore holds the slot": liveness: a host or its Node is not well, and nothing but a fault can change it
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
A: its Node gets a taint that the configuration ignores
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
A: its Node gets a taint that the configuration ignores
    slot 0 held by A (a former boot) | A up, boot not reported, an ignored taint
