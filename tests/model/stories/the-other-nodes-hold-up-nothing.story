# Mutant "the other nodes hold up nothing": P2: it goes on while another node is not ready
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
