# The 35 datasets of ODinW: folder, category names and, where they help, words around the names.
# Splits are train, valid and test.
#   ODINW_PROMPTS=reference  words around the names of Aquarium, as in FIBER
#   ODINW_PROMPTS=all        words around the names of every set that has some here
#   ODINW_PROMPTS=none       plain names
odinw_root = 'data/odinw/'
prompts = '{{$ODINW_PROMPTS:reference}}'

# fmt: off
about_sets = dict(
    AerialMaritimeDrone_large=dict(
        folder='AerialMaritimeDrone/large/', classes=('boat', 'car', 'dock', 'jetski', 'lift')),
    AerialMaritimeDrone_tiled=dict(
        folder='AerialMaritimeDrone/tiled/', classes=('boat', 'car', 'dock', 'jetski', 'lift')),
    AmericanSignLanguageLetters=dict(
        folder='AmericanSignLanguageLetters/American Sign Language Letters.v1-v1.coco/',
        classes=tuple('ABCDEFGHIJKLMNOPQRSTUVWXYZ')),
    Aquarium=dict(
        folder='Aquarium/Aquarium Combined.v2-raw-1024.coco/',
        classes=('fish', 'jellyfish', 'penguin', 'puffin', 'shark', 'starfish', 'stingray'),
        # a leading space: mid-sentence, a name has other tokens than at the start of a prompt
        prompt=dict(fish=dict(prefix=' '),
                    penguin=dict(suffix=', which is black and white'),
                    puffin=dict(suffix=' with orange beaks'),
                    stingray=dict(suffix=' which is flat and round'))),
    BCCD=dict(folder='BCCD/BCCD.v3-raw.coco/', classes=('Platelets', 'RBC', 'WBC')),
    boggleBoards=dict(
        folder='boggleBoards/416x416AutoOrient/export/',
        classes=('Q', 'a', 'an', 'b', 'c', 'd', 'e', 'er', 'f', 'g', 'h', 'he', 'i', 'in', 'j', 'k',
                 'l', 'm', 'n', 'o', 'o ', 'p', 'q', 'qu', 'r', 's', 't', 't\\', 'th', 'u', 'v',
                 'w', 'wild', 'x', 'y', 'z')),
    brackishUnderwater=dict(
        folder='brackishUnderwater/960x540/',
        classes=('crab', 'fish', 'jellyfish', 'shrimp', 'small_fish', 'starfish')),
    # the first category in the file has neither a name nor boxes
    ChessPieces=dict(
        folder='ChessPieces/Chess Pieces.v23-raw.coco/', renamed=True,
        classes=('black bishop', 'black king', 'black knight', 'black pawn', 'black queen',
                 'black rook', 'white bishop', 'white king', 'white knight', 'white pawn',
                 'white queen', 'white rook')),
    CottontailRabbits=dict(
        folder='CottontailRabbits/', classes=('Cottontail-Rabbit', ),
        prompt={'Cottontail-Rabbit': dict(name='rabbit')}),
    dice=dict(folder='dice/mediumColor/export/', classes=tuple('123456')),
    DroneControl=dict(
        folder='DroneControl/Drone Control.v3-raw.coco/',
        classes=('follow', 'follow_hand', 'land', 'land_hand', 'null', 'object', 'takeoff',
                 'takeoff-hand')),
    EgoHands_generic=dict(
        folder='EgoHands/generic/', classes=('hand', ),
        prompt=dict(hand=dict(suffix=' of a person'))),
    EgoHands_specific=dict(
        folder='EgoHands/specific/', classes=('myleft', 'myright', 'yourleft', 'yourright')),
    HardHatWorkers=dict(folder='HardHatWorkers/raw/', classes=('head', 'helmet', 'person')),
    MaskWearing=dict(folder='MaskWearing/raw/', classes=('mask', 'no-mask')),
    MountainDewCommercial=dict(folder='MountainDewCommercial/', classes=('bottle', )),
    NorthAmericaMushrooms=dict(
        folder='NorthAmericaMushrooms/North American Mushrooms.v1-416x416.coco/',
        classes=('CoW', 'chanterelle'),
        prompt=dict(CoW=dict(name='flat mushroom'), chanterelle=dict(name='yellow mushroom'))),
    openPoetryVision=dict(
        folder='openPoetryVision/512x512/',
        classes=('American Typewriter', 'Andale Mono', 'Apple Chancery', 'Arial', 'Avenir',
                 'Baskerville', 'Big Caslon', 'Bradley Hand', 'Brush Script MT', 'Chalkboard',
                 'Comic Sans MS', 'Copperplate', 'Courier', 'Didot', 'Futura', 'Geneva', 'Georgia',
                 'Gill Sans', 'Helvetica', 'Herculanum', 'Impact', 'Kefa', 'Lucida Grande',
                 'Luminari', 'Marker Felt', 'Menlo', 'Monaco', 'Noteworthy', 'Optima', 'PT Sans',
                 'PT Serif', 'Palatino', 'Papyrus', 'Phosphate', 'Rockwell', 'SF Pro',
                 'SignPainter', 'Skia', 'Snell Roundhand', 'Tahoma', 'Times New Roman',
                 'Trebuchet MS', 'Verdana')),
    OxfordPets_by_breed=dict(
        folder='OxfordPets/by-breed/',
        classes=('cat-Abyssinian', 'cat-Bengal', 'cat-Birman', 'cat-Bombay',
                 'cat-British_Shorthair', 'cat-Egyptian_Mau', 'cat-Maine_Coon', 'cat-Persian',
                 'cat-Ragdoll', 'cat-Russian_Blue', 'cat-Siamese', 'cat-Sphynx',
                 'dog-american_bulldog', 'dog-american_pit_bull_terrier', 'dog-basset_hound',
                 'dog-beagle', 'dog-boxer', 'dog-chihuahua', 'dog-english_cocker_spaniel',
                 'dog-english_setter', 'dog-german_shorthaired', 'dog-great_pyrenees',
                 'dog-havanese', 'dog-japanese_chin', 'dog-keeshond', 'dog-leonberger',
                 'dog-miniature_pinscher', 'dog-newfoundland', 'dog-pomeranian', 'dog-pug',
                 'dog-saint_bernard', 'dog-samoyed', 'dog-scottish_terrier', 'dog-shiba_inu',
                 'dog-staffordshire_bull_terrier', 'dog-wheaten_terrier',
                 'dog-yorkshire_terrier')),
    OxfordPets_by_species=dict(folder='OxfordPets/by-species/', classes=('cat', 'dog')),
    PKLot=dict(folder='PKLot/640/', classes=('space-empty', 'space-occupied')),
    Packages=dict(
        folder='Packages/Raw/', classes=('package', ),
        prompt=dict(package=dict(prefix='there is a ', suffix=' on the porch'))),
    PascalVOC=dict(
        folder='PascalVOC/', splits=dict(test='valid'),  # there is no third split
        classes=('aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair',
                 'cow', 'diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant',
                 'sheep', 'sofa', 'train', 'tvmonitor')),
    pistols=dict(folder='pistols/export/', classes=('pistol', )),
    plantdoc=dict(
        folder='plantdoc/416x416/',
        classes=('Apple Scab Leaf', 'Apple leaf', 'Apple rust leaf', 'Bell_pepper leaf',
                 'Bell_pepper leaf spot', 'Blueberry leaf', 'Cherry leaf', 'Corn Gray leaf spot',
                 'Corn leaf blight', 'Corn rust leaf', 'Peach leaf', 'Potato leaf',
                 'Potato leaf early blight', 'Potato leaf late blight', 'Raspberry leaf',
                 'Soyabean leaf', 'Soybean leaf', 'Squash Powdery mildew leaf', 'Strawberry leaf',
                 'Tomato Early blight leaf', 'Tomato Septoria leaf spot', 'Tomato leaf',
                 'Tomato leaf bacterial spot', 'Tomato leaf late blight',
                 'Tomato leaf mosaic virus', 'Tomato leaf yellow virus', 'Tomato mold leaf',
                 'Tomato two spotted spider mites leaf', 'grape leaf', 'grape leaf black rot')),
    pothole=dict(
        folder='pothole/', classes=('pothole', ),
        prompt=dict(pothole=dict(prefix='there are some ', name='holes', suffix=' on the road'))),
    Raccoon=dict(folder='Raccoon/Raccoon.v2-raw.coco/', classes=('raccoon', )),
    selfdrivingCar=dict(
        folder='selfdrivingCar/fixedLarge/export/',
        classes=('biker', 'car', 'pedestrian', 'trafficLight', 'trafficLight-Green',
                 'trafficLight-GreenLeft', 'trafficLight-Red', 'trafficLight-RedLeft',
                 'trafficLight-Yellow', 'trafficLight-YellowLeft', 'truck')),
    ShellfishOpenImages=dict(
        folder='ShellfishOpenImages/raw/', classes=('Crab', 'Lobster', 'Shrimp')),
    ThermalCheetah=dict(folder='ThermalCheetah/', classes=('cheetah', 'human')),
    thermalDogsAndPeople=dict(folder='thermalDogsAndPeople/', classes=('dog', 'person')),
    UnoCards=dict(
        folder='UnoCards/raw/',
        classes=('0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '12', '13', '14')),
    VehiclesOpenImages=dict(
        folder='VehiclesOpenImages/416x416/',
        classes=('Ambulance', 'Bus', 'Car', 'Motorcycle', 'Truck')),
    WildfireSmoke=dict(folder='WildfireSmoke/', classes=('smoke', )),
    websiteScreenshots=dict(
        folder='websiteScreenshots/',
        classes=('button', 'field', 'heading', 'iframe', 'image', 'label', 'link', 'text')))
# fmt: on

assert prompts in ('reference', 'all', 'none'), f'ODINW_PROMPTS={prompts}: reference, all or none'


def split_of(name, about, split):
    """The dataset of a split, without its pipeline."""
    worded = prompts == 'all' or prompts == 'reference' and name == 'Aquarium'
    split = about.get('splits', {}).get(split, split)
    file, images = 'annotations_without_background.json', f'{split}/'
    if about['folder'].endswith('export/'):  # all splits in one folder
        file, images = f'{"val" if split == "valid" else split}_{file}', ''
    elif about.get('renamed'):
        file = f'new_{file}'
    return dict(
        type='PromptCocoDataset',
        data_root=odinw_root + about['folder'],
        ann_file=images + file,
        data_prefix=dict(img=images),
        metainfo=dict(classes=about['classes']),
        caption_prompt=about.get('prompt') if worded else None,
    )


odinw_sets = {
    name: {split: split_of(name, about, split) for split in ('train', 'valid', 'test')}
    for name, about in about_sets.items()
}
del about_sets
odinw35 = list(odinw_sets)
odinw13 = [
    'AerialMaritimeDrone_large',
    'Aquarium',
    'CottontailRabbits',
    'EgoHands_generic',
    'NorthAmericaMushrooms',
    'Packages',
    'PascalVOC',
    'pistols',
    'pothole',
    'Raccoon',
    'ShellfishOpenImages',
    'thermalDogsAndPeople',
    'VehiclesOpenImages',
]
